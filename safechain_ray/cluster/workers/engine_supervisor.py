"""Keeps one engine alive inside an actor: starts one, a new one when it dies, and finds the row that kills them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from safechain_ray.cluster.placement_groups import check_tensor_parallel
from safechain_ray.cluster.progress import Reporter
from safechain_ray.cluster.workers.gate import TOGETHER, Apart, Gate
from safechain_ray.cluster.workers.inflight_tracker import Custody, row_in_hand
from safechain_ray.cluster.workers.suspicion import Suspicion, blamed
from safechain_ray.decoding.task import Kept
from safechain_ray.engines.api import ApiStart
from safechain_ray.engines.start import EngineStart
from safechain_ray.errors import EngineDiedError, EngineStartError, RowError
from safechain_ray.types import Completion, Engine, Message, Request


class EngineHost:
    """An `Engine` that outlives the deaths of the engine behind it.

    A request in flight at a death is sent again, so that a strategy of many calls loses only the last one. All rows in
    flight are suspects then: they are decoded apart from others, in ever smaller crowds, until one that was alone at
    the last of `max_deaths` deaths is set aside with RowError. `row_in_hand` says whose a request is. Raises
    EngineStartError where no engine can be started. The first engine's failure to start waits for `check`.
    """

    def __init__(
        self,
        start: EngineStart | ApiStart,
        start_engine: Callable[[Any], Engine],
        reporter: Reporter,
        custody: Custody,
        max_deaths: int,
    ) -> None:
        self._start = replace(start, on_tokens=lambda count: reporter.add(tokens=count), on_counts=reporter.add)
        if isinstance(self._start, EngineStart):
            self._start = replace(self._start, on_note=reporter.note)
        self._start_engine = start_engine
        self._reporter = reporter
        self._custody = custody
        self._max_deaths = max_deaths
        self._gate = Gate()
        self._suspicions: dict[str, Suspicion] = {}
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
    async def holding(self, rows: Sequence[str]) -> AsyncIterator[Mapping[str, Kept]]:
        """The rows of a block, for as long as the worker is at it; gives what was kept of them by another worker."""
        taken = await self._custody.take(rows)
        self._suspicions |= taken.suspicions
        if taken.again:
            self._reporter.add(rows_again=taken.again)
        try:
            yield taken.kept
        finally:
            self._custody.finish(rows)
            for row in rows:
                self._suspicions.pop(row, None)

    async def generate(self, request: Request) -> Completion:
        row = row_in_hand.get()
        cause: EngineDiedError | None = None
        while True:
            suspicion = self._suspicions.get(row)
            if suspicion is not None and suspicion.is_settled(self._max_deaths):
                reason = f" ({cause})" if cause else ""
                raise RowError(
                    f"set aside: {suspicion.deaths} engines died while this row was decoded, "
                    f"the last one with no other row in it{reason}"
                )
            apart = TOGETHER if suspicion is None else Apart(suspicion.deaths, suspicion.room(self._max_deaths))
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
            await self._custody.decodes(suspects)

    def _note_death(self, engine: Engine) -> None:
        """Called by every request in flight; the first one still sees all of them inside the gate."""
        if engine is self._engine and engine is not self._dead:
            self._dead = engine
            self._suspicions |= blamed(self._suspicions, self._gate.rows)
            self._victims = self._gate.rows

    async def _replace(self, dead: Engine) -> None:
        async with self._restarting:
            self.check()
            if self._engine is not dead:
                return
            await self._custody.died(self._victims)
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
