"""Keeps one engine alive inside an actor: starts one, a new one when it dies, and finds the row that kills them.

The gate of an engine: which rows it decodes together, so that one that kills engines is found out.

Spares a worker the garbage collector's passes over what it never frees: the modules and the engine that it has.
"""

import asyncio
import atexit
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from typing import Any

from safechain_ray.cluster.placement_groups import check_tensor_parallel
from safechain_ray.cluster.progress import ProgressReporter
from safechain_ray.cluster.workers.inflight_tracker import CrashRecord, TrackerClient, current_row, record_crash
from safechain_ray.decoding.base import DecodeCheckpoint
from safechain_ray.engines.api import ApiStart
from safechain_ray.engines.start import EngineStart
from safechain_ray.errors import EngineDiedError, EngineStartError, RowError
from safechain_ray.types import Completion, Engine, Message, Request


@dataclass(frozen=True, slots=True)
class Isolation:
    """How far a row is kept from others: only with rows that met as many deaths, `room` of them at most."""

    deaths: int
    room: int


TOGETHER = Isolation(0, 0)

"""Rows with nothing against them meet without bound."""


@dataclass(frozen=True, slots=True, order=True)
class _Waiting:
    """Most deaths first, then first come: what is known of a suspect grows old, and rows behind it wait."""

    rank: int
    number: int
    row: str = field(compare=False)
    apart: Isolation = field(compare=False)
    entered: asyncio.Event = field(compare=False, default_factory=asyncio.Event)


class AdmissionGate:
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

    def passed(self, row: str, apart: Isolation = TOGETHER) -> AbstractAsyncContextManager[None]:
        """Inside for the length of a block, which begins when the row may enter."""
        return _Passage(self, row, apart)

    async def enter(self, row: str, apart: Isolation = TOGETHER) -> None:
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

    def _fits(self, apart: Isolation) -> bool:
        if not self._inside:
            return True
        if apart.deaths != self._deaths:
            return False
        return apart.deaths == 0 or len(self._inside) < min(self._room, apart.room)

    def _enter(self, row: str, apart: Isolation) -> None:
        if not self._inside:
            self._deaths, self._room = apart.deaths, apart.room
        self._inside[row] += 1
        self._room = min(self._room, apart.room)


@dataclass(frozen=True, slots=True)
class _Passage:
    """The way in and out. `asynccontextmanager` would take five times as long, and every request passes here."""

    gate: AdmissionGate
    row: str
    apart: Isolation

    async def __aenter__(self) -> None:
        await self.gate.enter(self.row, self.apart)

    async def __aexit__(self, *error: object) -> None:
        self.gate.leave(self.row)


class EngineSupervisor:
    """An `Engine` that outlives the deaths of the engine behind it.

    A request in flight at a death is sent again, so that a strategy of many calls loses only the last one. All rows in
    flight are suspects then: they are decoded apart from others, in ever smaller crowds, until one that was alone at
    the last of `max_deaths` deaths is set aside with RowError. `current_row` says whose a request is. Raises
    EngineStartError where no engine can be started. The first engine's failure to start waits for `check`.
    """

    def __init__(
        self,
        start: EngineStart | ApiStart,
        start_engine: Callable[[Any], Engine],
        reporter: ProgressReporter,
        tracker_client: TrackerClient,
        max_deaths: int,
    ) -> None:
        self._start = replace(start, on_tokens=lambda count: reporter.add(tokens=count), on_counts=reporter.add)
        if isinstance(self._start, EngineStart):
            self._start = replace(self._start, on_note=reporter.note)
        self._start_engine = start_engine
        self._reporter = reporter
        self._tracker_client = tracker_client
        self._max_deaths = max_deaths
        self._gate = AdmissionGate()
        self._suspicions: dict[str, CrashRecord] = {}
        self._restarting = asyncio.Lock()
        self._told: frozenset[str] = frozenset()
        self._dead: Engine | None = None
        self._victims: frozenset[str] = frozenset()
        self._failure: EngineStartError | None = None
        # Of an error in an actor's constructor Ray hands on only the text, so `check` raises it in the first call.
        with suppress(EngineStartError):
            self._engine = self._new_engine()

    def check(self) -> None:
        """Raises the EngineStartError of an engine that did not start: no other start is tried."""
        if self._failure is not None:
            raise self._failure

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    def render(self, messages: tuple[Message, ...]) -> str:
        return self._engine.render(messages)

    def count_tokens(self, text: str) -> int:
        return self._engine.count_tokens(text)

    def last_tokens(self, text: str, count: int) -> str:
        return self._engine.last_tokens(text, count)

    @asynccontextmanager
    async def holding(self, rows: Sequence[str]) -> AsyncIterator[Mapping[str, DecodeCheckpoint]]:
        """The rows of a block, for as long as the worker is at it; gives what was kept of them by another worker."""
        taken = await self._tracker_client.claim(rows)
        self._suspicions |= taken.suspicions
        if taken.again:
            self._reporter.add(rows_again=taken.again)
        try:
            yield taken.checkpoint
        finally:
            self._tracker_client.finish(rows)
            for row in rows:
                self._suspicions.pop(row, None)

    async def generate(self, request: Request) -> Completion:
        row = current_row.get()
        cause: EngineDiedError | None = None
        while True:
            suspicion = self._suspicions.get(row)
            if suspicion is not None and suspicion.is_settled(self._max_deaths):
                reason = f" ({cause})" if cause else ""
                raise RowError(
                    f"set aside: {suspicion.deaths} engines died while this row was decoded, "
                    f"the last one with no other row in it{reason}"
                )
            apart = TOGETHER if suspicion is None else Isolation(suspicion.deaths, suspicion.room(self._max_deaths))
            async with self._gate.passed(row, apart):
                if self._suspicions.get(row) != suspicion:
                    continue  # another request of the row met a death while this one waited
                await self._tell(self._gate.rows if suspicion else frozenset())
                engine = self._engine
                if engine is not self._dead:  # a dead one is closed already: wait for the next
                    try:
                        return await engine.generate(request)
                    except EngineDiedError as error:
                        self._note_death(engine)
                        cause = error
            await self._replace(engine)

    async def close(self) -> None:
        await self._engine.close()

    async def _tell(self, suspects: frozenset[str]) -> None:
        """Let the ledger know, before they are decoded, which suspects are: the worker may not live to tell."""
        if suspects != self._told:
            self._told = suspects
            await self._tracker_client.decodes(suspects)

    def _note_death(self, engine: Engine) -> None:
        """Called by every request in flight; the first one still sees all of them inside the gate."""
        if engine is self._engine and engine is not self._dead:
            self._dead = engine
            self._suspicions |= record_crash(self._suspicions, self._gate.rows)
            self._victims = self._gate.rows

    async def _replace(self, dead: Engine) -> None:
        async with self._restarting:
            self.check()
            if self._engine is not dead:
                return
            await self._tracker_client.died(self._victims)
            self._reporter.set_ready(False)
            self._reporter.add(engine_restarts=1)
            await dead.close()
            self._engine = await asyncio.to_thread(self._new_engine)

    def _new_engine(self) -> Engine:
        try:
            if isinstance(self._start, EngineStart) and self._start.executor == "ray":
                check_tensor_parallel(self._start.needs.tensor_parallel_size)
            engine = self._start_engine(self._start)
        except EngineStartError as error:
            self._failure = error
            raise
        self._reporter.set_ready(True)
        return engine


@cache
def gc_freeze() -> None:
    """Leave all that this process holds now out of later passes; called once a worker has what it works with.

    A hundred thousand objects of imported modules are otherwise walked again and again while rows are made: about a
    tenth of what a replica spends on a row whose engine answers at once.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # at the end all is to be freed, and libraries complain of what is not
