"""Keeps one engine alive inside an actor: starts it, and starts a new one when it dies."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from safechain_ray.cluster.tally import Reporter
from safechain_ray.engines.api import ApiStart
from safechain_ray.engines.start import EngineStart
from safechain_ray.errors import EngineDiedError, EngineStartError, RowError
from safechain_ray.schema import Completion, Engine, Message, Request


class EngineHost:
    """An `Engine` that outlives the deaths of the engine behind it.

    A request in flight at a death is sent again, so that a strategy of many calls loses only the last one. Raises
    EngineStartError where no engine can be started, and RowError for a request under which `max_deaths` engines died:
    it may well be their cause. The first engine's failure to start waits for `check`.
    """

    def __init__(
        self, start: EngineStart | ApiStart, start_engine: Callable[[Any], Engine], reporter: Reporter, max_deaths: int
    ) -> None:
        self._start = replace(start, on_tokens=lambda count: reporter.add(tokens=count), on_counts=reporter.add)
        self._start_engine = start_engine
        self._reporter = reporter
        self._max_deaths = max_deaths
        self._restarting = asyncio.Lock()
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

    async def generate(self, request: Request) -> Completion:
        for death in range(1, self._max_deaths + 1):
            engine = self._engine
            try:
                return await engine.generate(request)
            except EngineDiedError as error:
                await self._replace(engine)
                if death == self._max_deaths:
                    raise RowError(f"set aside: the engine died {death} times under this request ({error})") from error
        raise AssertionError("max_deaths is at least 1")

    async def close(self) -> None:
        await self._engine.close()

    async def _replace(self, dead: Engine) -> None:
        async with self._restarting:
            self.check()
            if self._engine is not dead:
                return
            self._reporter.set_ready(False)
            self._reporter.add(engine_restarts=1)
            await dead.close()
            self._engine = await asyncio.to_thread(self._new_engine)

    def _new_engine(self) -> Engine:
        try:
            engine = self._start_engine(self._start)
        except EngineStartError as error:
            self._failure = error
            raise
        self._reporter.set_ready(True)
        return engine
