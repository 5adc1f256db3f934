"""The gate of an engine: which rows it decodes together, so that one that kills engines is found out."""

import asyncio
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import count


@dataclass(frozen=True, slots=True)
class Apart:
    """How far a row is kept from others: only with rows that met as many deaths, `room` of them at most."""

    deaths: int
    room: int


TOGETHER = Apart(0, 0)
"""Rows with nothing against them meet without bound."""


@dataclass(frozen=True, slots=True, order=True)
class _Waiting:
    """Most deaths first, then first come: what is known of a suspect grows old, and rows behind it wait."""

    rank: int
    number: int
    row: str = field(compare=False)
    apart: Apart = field(compare=False)
    entered: asyncio.Event = field(compare=False, default_factory=asyncio.Event)


class Gate:
    """Lets rows in, all together as long as none is under suspicion. A row inside may enter again."""

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()
        self._deaths = 0
        self._room = 0
        self._waiting: list[_Waiting] = []
        self._numbers = count()

    @property
    def rows(self) -> frozenset[str]:
        """The rows inside."""
        return frozenset(self._inside)

    def passed(self, row: str, apart: Apart = TOGETHER) -> AbstractAsyncContextManager[None]:
        """Inside for the length of a block, which begins when the row may enter."""
        return _Passage(self, row, apart)

    async def enter(self, row: str, apart: Apart = TOGETHER) -> None:
        """Inside from now on, as soon as the row may enter, until it leaves as often as it entered."""
        if row in self._inside or (not self._waiting and self._fits(apart)):
            self._enter(row, apart)
            return
        waiting = _Waiting(-apart.deaths, next(self._numbers), row, apart)
        self._waiting.append(waiting)
        await self._entered(waiting)

    def leave(self, row: str) -> None:
        """Outside again; who waits and may enter now does."""
        self._inside[row] -= 1
        if self._inside[row]:
            return
        del self._inside[row]
        self._waiting.sort()
        while self._waiting and (self._waiting[0].row in self._inside or self._fits(self._waiting[0].apart)):
            waiting = self._waiting.pop(0)
            self._enter(waiting.row, waiting.apart)
            waiting.entered.set()

    async def _entered(self, waiting: _Waiting) -> None:
        """Wait to be let in. Who is cancelled meanwhile gives up the place that it has, or was just given."""
        try:
            await waiting.entered.wait()
        except asyncio.CancelledError:
            if waiting.entered.is_set():
                self.leave(waiting.row)
            else:
                self._waiting.remove(waiting)
            raise

    def _fits(self, apart: Apart) -> bool:
        if not self._inside:
            return True
        if apart.deaths != self._deaths:
            return False
        return apart.deaths == 0 or len(self._inside) < min(self._room, apart.room)

    def _enter(self, row: str, apart: Apart) -> None:
        if not self._inside:
            self._deaths, self._room = apart.deaths, apart.room
        self._inside[row] += 1
        self._room = min(self._room, apart.room)


@dataclass(frozen=True, slots=True)
class _Passage:
    """The way in and out. `asynccontextmanager` would take five times as long, and every request passes here."""

    gate: Gate
    row: str
    apart: Apart

    async def __aenter__(self) -> None:
        await self.gate.enter(self.row, self.apart)

    async def __aexit__(self, *error: object) -> None:
        self.gate.leave(self.row)
