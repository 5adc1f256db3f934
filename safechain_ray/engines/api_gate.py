"""Admission control for requests to a provider: adaptive concurrency (AIMD) and the budget of one attempt.

1. `AdaptiveLimit` grows the number of concurrent requests while they succeed, and halves it at an overload.
2. `Budget` bounds requests and dollars. No request is sent beyond the budget.
3. `RequestGate` delays each request until both admit it, and records its outcome.
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

Admission = Literal["send", "wait", "spent"]

FIRST_LIMIT = 8


@dataclass
class Budget:
    """Counts requests and their cost. A request in flight is reserved at its maximum cost.

    So the bill stays below `max_cost` while the provider respects `max_tokens` and `prices`. A request without an
    answer (a timeout, a lost connection) may have been billed: its maximum cost is counted in `spent`, not in `billed`.
    """

    prices: Prices | None = None
    max_cost: float | None = None
    max_requests: int | None = None
    requests: int = 0
    in_flight: int = 0
    billed: float = 0.0
    lost: float = 0.0
    reserved: float = 0.0

    @property
    def spent(self) -> float:
        """Dollars, including the maximum cost of lost answers."""
        return self.billed + self.lost

    def most(self, input_tokens: int, output_tokens: int) -> float:
        """The cost of so many tokens in dollars; 0 without known prices."""
        return 0.0 if self.prices is None else self.prices.cost(input_tokens, output_tokens)

    def ask(self, most: float) -> Admission:
        """Whether a request of at most `most` dollars may be sent; `wait` where requests in flight decide it."""
        if self.max_requests is not None and self.requests >= self.max_requests:
            # A request in flight may find no connection, and is taken back.
            return "wait" if self.requests - self.in_flight < self.max_requests else "spent"
        if self.max_cost is None:
            return "send"
        if self.spent + most > self.max_cost:
            return "spent"
        return "wait" if self.spent + self.reserved + most > self.max_cost else "send"

    def sent(self, most: float) -> None:
        self.requests += 1
        self.in_flight += 1
        self.reserved += most

    def not_sent(self, most: float) -> None:
        """Take back a request that reached nobody."""
        self.requests -= 1
        self._ended(most)

    def answered(self, most: float, cost: float) -> None:
        """Record an answer with its cost (0 for a refusal)."""
        self._ended(most)
        self.billed += cost

    def unanswered(self, most: float) -> None:
        """Record a lost answer, whose cost is unknown."""
        self._ended(most)
        self.lost += most

    def _ended(self, most: float) -> None:
        self.in_flight -= 1
        self.reserved -= most

    def sentence(self) -> str:
        """The error of a row that was not sent."""
        if self.max_requests is not None and self.requests >= self.max_requests:
            return (
                f"not sent: the budget of {self.max_requests:,} requests is spent. "
                "Fix: rerun the command with a larger --max-requests."
            )
        return (
            f"not sent: the rest of the budget of ${self.max_cost:g} is less than this request may cost. "
            "Fix: rerun the command with a larger --max-cost."
        )


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request in flight. `era` counts how often the limit had been halved when the request was sent."""

    era: int


@dataclass
class AdaptiveLimit:
    """Limit of concurrent requests: additive increase, multiplicative decrease (AIMD), as in TCP (Jacobson 1988).

    1. Until the first overload every success raises the limit by one, which doubles it each round trip. After that the
       limit grows by one each round trip.
    2. An overload halves the limit. Requests that were sent before the last halving do not halve it again.
    3. A limit that is not used is not raised. The limit is at least 1 and at most `cap`.

    Callers pass the time.
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
        """Seconds until a request may be sent; 0 for now, None to wait until another request ends."""
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
        """Record a failure that is not caused by load."""
        self.in_flight -= 1

    def overloaded(self, ticket: Ticket, now: float, retry_after: float) -> None:
        """Record an overload. No request is sent for `retry_after` seconds, as the provider requested."""
        self.in_flight -= 1
        self._paused_until = max(self._paused_until, now + retry_after)
        self._doubling = False
        if ticket.era == self._era:
            self._limit = max(1.0, self._limit / 2)
            self._era += 1


@dataclass
class RequestSlot:
    """One request in flight. Its outcome is unknown until `answered` or `fault` is set."""

    ticket: Ticket
    most: float
    cost: float = 0.0
    answered: bool = False
    fault: Fault | None = None


class RequestGate:
    """Admits requests under a limit and a budget. `on_limit` receives each change of the limit, as a difference."""

    def __init__(self, limit: AdaptiveLimit, budget: Budget, on_limit: Callable[[int], None]) -> None:
        self._limit = limit
        self._budget = budget
        self._on_limit = on_limit
        self._changed = asyncio.Condition()
        self._closed_with: EngineRefusedError | None = None
        on_limit(limit.limit)

    def close(self, error: EngineRefusedError) -> None:
        """Admit no further request: waiting and new requests raise `error`."""
        self._closed_with = error

    @asynccontextmanager
    async def slot(self, most: float) -> AsyncIterator[RequestSlot]:
        """Wait until a request is admitted, and occupy a slot while the block runs.

        Raises:
            RowError: The budget is spent.
            EngineRefusedError: The gate was closed.
        """
        slot = RequestSlot(await self._enter(most), most)
        try:
            yield slot
        finally:
            # Without an await before it, so that a cancelled request releases its slot too.
            self._release(slot)
            await asyncio.shield(self._notify_waiters())

    async def _enter(self, most: float) -> Ticket:
        async with self._changed:
            while True:
                if self._closed_with is not None:
                    raise self._closed_with
                admission = self._budget.ask(most)
                if admission == "spent":
                    raise RowError(self._budget.sentence())
                wait = self._limit.wait(time.monotonic())
                if admission == "send" and wait == 0:
                    self._budget.sent(most)
                    return self._limit.started()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), timeout=wait or None)

    def _release(self, slot: RequestSlot) -> None:
        before = self._limit.limit
        fault = slot.fault
        if fault is not None and fault.not_sent:
            self._budget.not_sent(slot.most)
        elif slot.answered:
            self._budget.answered(slot.most, slot.cost)
        else:
            self._budget.unanswered(slot.most)
        if fault is not None and (fault.overload or fault.retry_after):
            self._limit.overloaded(slot.ticket, time.monotonic(), fault.retry_after)
        elif fault is not None or not slot.answered:
            self._limit.failed(slot.ticket)
        else:
            self._limit.succeeded(slot.ticket)
        if self._limit.limit != before:
            self._on_limit(self._limit.limit - before)

    async def _notify_waiters(self) -> None:
        async with self._changed:
            self._changed.notify_all()
