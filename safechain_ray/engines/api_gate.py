"""The gate that every request to a provider passes: holds it until limit and budget let it, and hears how it ended.

How many requests a provider is sent at once: more while all is well, half as many when it is overloaded.

What a try may spend at an API: requests and dollars, none sent beyond them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from safechain_ray.catalog.entries import Prices
from safechain_ray.engines.api_faults import Fault
from safechain_ray.errors import EngineRefusedError, RowError

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


FIRST_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request under way, and how often the limit had been halved when it was sent."""

    era: int


@dataclass
class AdaptiveLimit:
    """Additive increase, multiplicative decrease, as TCP does it (Jacobson 1988), in requests. Knows no clock.

    Until the first overload every success raises the limit by one, which doubles it a round trip; from then on one a
    round trip. An overload halves it, unless its request was sent before the last halving: those of one round trip
    tell of one overload. A limit that is not used is not raised. It is never below 1 and never above `cap`.
    """

    cap: int
    in_flight: int = 0
    _limit: float = field(init=False)
    _era: int = 0
    _doubling: bool = True
    _paused_until: float = 0.0

    def __post_init__(self) -> None:
        self._limit = float(min(FIRST_LIMIT, self.cap))

    @property
    def limit(self) -> int:
        return int(self._limit)

    def wait(self, now: float) -> float | None:
        """Seconds until a request may be sent, as the provider asked; 0 for at once, None for when another ends."""
        if self._paused_until > now:
            return self._paused_until - now
        return 0.0 if self.in_flight < self.limit else None

    def started(self) -> Ticket:
        self.in_flight += 1
        return Ticket(self._era)

    def succeeded(self, ticket: Ticket) -> None:
        used = 2 * self.in_flight >= self.limit
        self.in_flight -= 1
        if used and ticket.era == self._era:
            self._limit = min(float(self.cap), self._limit + (1.0 if self._doubling else 1.0 / self._limit))

    def failed(self, ticket: Ticket) -> None:
        """It failed for a reason that says nothing of the load."""
        self.in_flight -= 1

    def overloaded(self, ticket: Ticket, now: float, retry_after: float) -> None:
        """The provider had too much to do, and asked for `retry_after` seconds of quiet (0: it named none)."""
        self.in_flight -= 1
        self._paused_until = max(self._paused_until, now + retry_after)
        self._doubling = False
        if ticket.era == self._era:
            self._limit = max(1.0, self._limit / 2)
            self._era += 1


@dataclass
class Passage:
    """One request under way. How it ended is unknown until `answered` or `fault` is set."""

    ticket: Ticket
    most: float
    cost: float = 0.0
    answered: bool = False
    fault: Fault | None = None


class RequestGate:
    """`on_limit` hears each change of the limit, as a difference."""

    def __init__(self, limit: AdaptiveLimit, budget: Budget, on_limit: Callable[[int], None]) -> None:
        self._limit = limit
        self._budget = budget
        self._on_limit = on_limit
        self._changed = asyncio.Condition()
        self._shut: EngineRefusedError | None = None
        on_limit(limit.limit)

    def shut(self, error: EngineRefusedError) -> None:
        """Let nothing pass any more: all that wait, and all that come, end with `error`."""
        self._shut = error

    @asynccontextmanager
    async def passage(self, most: float) -> AsyncIterator[Passage]:
        """Wait for a request's turn, then hold its place. Raises RowError where the budget for it is spent, and what
        the gate was shut with."""
        passage = Passage(await self._enter(most), most)
        try:
            yield passage
        finally:
            # Without an await before it: a request that is cancelled gives its place back too.
            self._leave(passage)
            await asyncio.shield(self._tell())

    async def _enter(self, most: float) -> Ticket:
        async with self._changed:
            while True:
                if self._shut is not None:
                    raise self._shut
                answer = self._budget.ask(most)
                if answer == "spent":
                    raise RowError(self._budget.sentence())
                wait = self._limit.wait(time.monotonic())
                if answer == "send" and wait == 0:
                    self._budget.sent(most)
                    return self._limit.started()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), timeout=wait or None)

    def _leave(self, passage: Passage) -> None:
        before = self._limit.limit
        fault = passage.fault
        if passage.answered:
            self._budget.answered(passage.most, passage.cost)
        else:
            self._budget.unanswered(passage.most)
        if fault is not None and (fault.overload or fault.retry_after):
            self._limit.overloaded(passage.ticket, time.monotonic(), fault.retry_after)
        elif fault is not None or not passage.answered:
            self._limit.failed(passage.ticket)
        else:
            self._limit.succeeded(passage.ticket)
        if self._limit.limit != before:
            self._on_limit(self._limit.limit - before)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
