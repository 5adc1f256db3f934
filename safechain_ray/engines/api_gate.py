"""The gate that every request to a provider passes: holds it until limit and budget let it, and hears how it ended."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from safechain_ray.engines.adaptive_limit import AdaptiveLimit, Ticket
from safechain_ray.engines.api_budget import Budget
from safechain_ray.engines.api_faults import Fault
from safechain_ray.errors import EngineRefusedError, RowError


@dataclass
class Passage:
    """One request under way. How it ended is unknown until `answered` or `fault` is set."""

    ticket: Ticket
    most: float
    cost: float = 0.0
    answered: bool = False
    fault: Fault | None = None


class Gate:
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
