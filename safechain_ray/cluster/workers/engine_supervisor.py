"""Engine supervisor: restarts a crashed engine inside its worker, and isolates the row that crashes engines.

One prompt can crash every engine that decodes it. Without isolation, such a row would crash the engine again after each
restart, and the run would never end.

1. A request in flight at a crash is sent again to the next engine. A strategy of many calls repeats only its last call.
2. All rows in flight at a crash are suspects. `AdmissionGate` decodes suspects in groups that shrink at each crash.
3. A row that was alone at the last of `max_deaths` crashes is quarantined: it ends with RowError.
"""

import asyncio
import atexit
import gc
import platform
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
from safechain_ray.errors import EngineDiedError, EngineStartError, RowError, first_line
from safechain_ray.types import NO_ARGUMENTS, Completion, Engine, Message, Request


@dataclass(frozen=True, slots=True)
class Isolation:
    """A row is decoded only with rows of the same number of crashes, at most `max_group` rows at once."""

    deaths: int
    max_group: int


NOT_ISOLATED = Isolation(0, 0)
"""For rows without a crash: they are decoded together in any number."""


class EngineSupervisor:
    """An `Engine` that restarts the engine behind it after a crash.

    `current_row` names the row that a request belongs to. An engine that fails to start is not retried. An error of the
    first start is raised by `check`, not by the constructor.

    Raises:
        EngineStartError: By `check` and `generate`, where no engine can be started.
        RowError: By `generate`, for a quarantined row.
    """

    def __init__(
        self,
        start: EngineStart | ApiStart,
        start_engine: Callable[[Any], Engine],
        reporter: ProgressReporter,
        tracker_client: TrackerClient,
        max_deaths: int,
    ) -> None:
        self._start = replace(
            start,
            on_tokens=lambda count: reporter.add(tokens=count),
            on_counts=reporter.add,
            on_note=reporter.note,
        )
        self._start_engine = start_engine
        self._reporter = reporter
        self._tracker_client = tracker_client
        self._max_deaths = max_deaths
        self._gate = AdmissionGate()
        self._crash_records: dict[str, CrashRecord] = {}
        self._restarting = asyncio.Lock()
        self._reported_suspects: frozenset[str] = frozenset()
        self._dead: Engine | None = None
        self._victims: frozenset[str] = frozenset()
        self._failure: EngineStartError | None = None
        # Ray passes on only the text of a constructor's error, so `check` raises the error in the first call.
        with suppress(EngineStartError):
            self._engine = self._new_engine()

    def check(self) -> None:
        """Raise the EngineStartError of an engine that did not start."""
        if self._failure is not None:
            raise self._failure

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    def render(self, messages: tuple[Message, ...], arguments: Mapping[str, Any] = NO_ARGUMENTS) -> str:
        return self._engine.render(messages, arguments)

    def count_tokens(self, text: str) -> int:
        return self._engine.count_tokens(text)

    def last_tokens(self, text: str, count: int) -> str:
        return self._engine.last_tokens(text, count)

    @asynccontextmanager
    async def claim(self, rows: Sequence[str]) -> AsyncIterator[Mapping[str, DecodeCheckpoint]]:
        """Hold the rows of a block while the worker processes the block; gives checkpoints of an earlier worker."""
        claim = await self._tracker_client.claim(rows)
        self._crash_records |= claim.crash_records
        if claim.retried:
            self._reporter.add(rows_again=claim.retried)
        try:
            yield claim.checkpoints
        finally:
            self._tracker_client.finish(rows)
            for row in rows:
                self._crash_records.pop(row, None)

    async def generate(self, request: Request) -> Completion:
        row = current_row.get()
        cause: EngineDiedError | None = None
        while True:
            record = self._crash_records.get(row)
            if record is not None and record.is_settled(self._max_deaths):
                reason = f" ({cause})" if cause else ""
                raise RowError(
                    f"quarantined: {record.deaths} engines died while this row was decoded, "
                    f"the last one with no other row in it{reason}"
                )
            isolation = NOT_ISOLATED
            if record is not None:
                isolation = Isolation(record.deaths, record.max_group(self._max_deaths))
            async with self._gate.admission(row, isolation):
                if self._crash_records.get(row) != record:
                    continue  # another request of the row met a crash while this one waited
                await self._report_suspects(self._gate.rows if record else frozenset())
                engine = self._engine
                if engine is not self._dead:  # a dead engine is closed already: wait for the next one
                    try:
                        return await engine.generate(request)
                    except EngineDiedError as error:
                        self._record_crash(engine, error)
                        cause = error
            await self._restart(engine)

    async def close(self) -> None:
        await self._engine.close()

    async def _report_suspects(self, suspects: frozenset[str]) -> None:
        """Report suspects to the tracker before they are decoded, as the crash may end this worker too."""
        if suspects != self._reported_suspects:
            self._reported_suspects = suspects
            await self._tracker_client.set_decoding(suspects)

    def _record_crash(self, engine: Engine, error: EngineDiedError) -> None:
        """Called by every request in flight. At the first call all of these rows are still inside the gate."""
        if engine is self._engine and engine is not self._dead:
            self._dead = engine
            self._crash_records |= record_crash(self._crash_records, self._gate.rows)
            self._victims = self._gate.rows
            self._reporter.note(
                f"An engine on node {platform.node()} died ({first_line(error)}). "
                f"A new engine starts there now. Rows to repeat: {len(self._victims)}."
            )

    async def _restart(self, dead: Engine) -> None:
        async with self._restarting:
            self.check()
            if self._engine is not dead:
                return
            await self._tracker_client.record_engine_crash(self._victims)
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


class AdmissionGate:
    """Admission control of one engine: which rows are decoded at the same time. A row inside may enter again."""

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()
        self._deaths = 0
        self._max_group = 0
        self._queue: list[_QueueEntry] = []
        self._numbers = count()

    @property
    def rows(self) -> frozenset[str]:
        """The rows inside."""
        return frozenset(self._inside)

    def admission(self, row: str, isolation: Isolation = NOT_ISOLATED) -> AbstractAsyncContextManager[None]:
        """Inside for the length of a block, which begins when the row is admitted."""
        return _Admission(self, row, isolation)

    async def enter(self, row: str, isolation: Isolation = NOT_ISOLATED) -> None:
        """Wait until the row is admitted. The row stays inside until it has left as often as it entered."""
        if row in self._inside or (not self._queue and self._fits(isolation)):
            self._admit(row, isolation)
            return
        entry = _QueueEntry(-isolation.deaths, next(self._numbers), row, isolation)
        self._queue.append(entry)
        await self._wait(entry)

    def leave(self, row: str) -> None:
        """Leave once, and admit the queued rows that fit now."""
        self._inside[row] -= 1
        if self._inside[row]:
            return
        del self._inside[row]
        self._queue.sort()
        while self._queue and (self._queue[0].row in self._inside or self._fits(self._queue[0].isolation)):
            entry = self._queue.pop(0)
            self._admit(entry.row, entry.isolation)
            entry.admitted.set()

    async def _wait(self, entry: "_QueueEntry") -> None:
        """Wait for admission. A cancelled row gives back its place in the queue or inside."""
        try:
            await entry.admitted.wait()
        except asyncio.CancelledError:
            if entry.admitted.is_set():
                self.leave(entry.row)
            else:
                self._queue.remove(entry)
            raise

    def _fits(self, isolation: Isolation) -> bool:
        if not self._inside:
            return True
        if isolation.deaths != self._deaths:
            return False
        return isolation.deaths == 0 or len(self._inside) < min(self._max_group, isolation.max_group)

    def _admit(self, row: str, isolation: Isolation) -> None:
        if not self._inside:
            self._deaths, self._max_group = isolation.deaths, isolation.max_group
        self._inside[row] += 1
        self._max_group = min(self._max_group, isolation.max_group)


@dataclass(frozen=True, slots=True, order=True)
class _QueueEntry:
    """Priority queue entry: most engine crashes first, then FIFO, so that suspects are resolved before other rows."""

    rank: int
    number: int
    row: str = field(compare=False)
    isolation: Isolation = field(compare=False)
    admitted: asyncio.Event = field(compare=False, default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _Admission:
    """Context manager of one admission. `asynccontextmanager` takes five times as long, and every request is here."""

    gate: AdmissionGate
    row: str
    isolation: Isolation

    async def __aenter__(self) -> None:
        await self.gate.enter(self.row, self.isolation)

    async def __aexit__(self, *error: object) -> None:
        self.gate.leave(self.row)


@cache
def gc_freeze() -> None:
    """Exclude the objects that exist now from later garbage collections; called once a worker is initialised.

    Otherwise each collection walks a hundred thousand objects of imported modules. That takes about a tenth of what a
    replica spends on a row whose engine answers at once.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries complain at exit about objects that are not freed
