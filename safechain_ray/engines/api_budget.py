"""What a try may spend at an API: requests and dollars, none sent beyond them."""

from dataclasses import dataclass
from typing import Literal

from safechain_ray.catalog.api_entries import Prices

Answer = Literal["send", "wait", "spent"]


@dataclass
class Budget:
    """Counts requests and their cost, those under way at the most that they can come to.

    So the bill stays under `max_cost` as long as the provider keeps to `max_tokens` and to `prices`. A request whose
    answer was lost (a timeout, a broken connection) may have been billed: it stays counted at its most, in `spent` but
    not in `billed`.
    """

    prices: Prices | None = None
    max_cost: float | None = None
    max_requests: int | None = None
    requests: int = 0
    billed: float = 0.0
    lost: float = 0.0
    reserved: float = 0.0

    @property
    def spent(self) -> float:
        """Dollars, those that lost answers may have cost among them."""
        return self.billed + self.lost

    def most(self, input_tokens: int, output_tokens: int) -> float:
        """Dollars that so many tokens come to; 0 where no price is known."""
        return 0.0 if self.prices is None else self.prices.cost(input_tokens, output_tokens)

    def ask(self, most: float) -> Answer:
        """Whether a request of at most `most` dollars may be sent; `wait` where it hangs on those under way."""
        if self.max_requests is not None and self.requests >= self.max_requests:
            return "spent"
        if self.max_cost is None:
            return "send"
        if self.spent + most > self.max_cost:
            return "spent"
        return "wait" if self.spent + self.reserved + most > self.max_cost else "send"

    def sent(self, most: float) -> None:
        self.requests += 1
        self.reserved += most

    def answered(self, most: float, cost: float) -> None:
        """It came back and cost so much (0 for a refusal)."""
        self.reserved -= most
        self.billed += cost

    def unanswered(self, most: float) -> None:
        """It never came back: what it cost is unknown."""
        self.reserved -= most
        self.lost += most

    def sentence(self) -> str:
        """Why a row was not sent, for the row."""
        if self.max_requests is not None and self.requests >= self.max_requests:
            return (
                f"not sent: the budget of {self.max_requests:,} requests is spent; "
                "the same command with a larger --max-requests goes on"
            )
        return (
            f"not sent: of the budget of ${self.max_cost:g} the rest is less than this request may cost; "
            "the same command with a larger --max-cost goes on"
        )
