"""A scripted engine with as many slots as a real one: requests beyond them wait."""

import asyncio
from dataclasses import dataclass, field

from safechain_ray.engines.start import EngineStart
from safechain_ray.testing import Script, ScriptedEngine
from safechain_ray.types import Completion, Engine, Request


@dataclass(frozen=True)
class SlottedEngines:
    """A `StartEngine` of engines that all follow one script, `EngineStart.max_running` requests at a time."""

    script: Script

    def __call__(self, start: EngineStart) -> Engine:
        return SlottedEngine(self.script, start.on_tokens, slots=asyncio.Semaphore(start.max_running))


@dataclass
class SlottedEngine(ScriptedEngine):
    slots: asyncio.Semaphore = field(kw_only=True)

    async def generate(self, request: Request) -> Completion:
        async with self.slots:
            return await super().generate(request)
