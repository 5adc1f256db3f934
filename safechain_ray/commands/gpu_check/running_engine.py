"""A real vLLM engine with its event loop, for code that is not a coroutine itself."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.engines.start import Device, EngineStart
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.types import Completion, Engine, Message, Request

Result = TypeVar("Result")


@dataclass(frozen=True)
class RunningEngine:
    engine: Engine
    loop: asyncio.AbstractEventLoop

    def wait(self, work: Awaitable[Result]) -> Result:
        async def waited() -> Result:
            return await work

        return self.loop.run_until_complete(waited())

    def complete(self, *requests: Request) -> list[Completion]:
        """All requests at once."""

        async def together() -> list[Completion]:
            return list(await asyncio.gather(*map(self.engine.generate, requests)))

        return self.wait(together())

    def chat(self, prompt: str) -> str:
        """The prompt's text after the chat template."""
        return self.engine.render((Message("user", prompt),))

    def close(self) -> None:
        self.wait(self.engine.close())


@contextmanager
def running_engine(
    needs: EngineNeeds,
    device: Device,
    log_file: Path,
    loop: asyncio.AbstractEventLoop,
    memory_share: float | None = None,
) -> Iterator[RunningEngine]:
    """An engine that is closed at the end. Raises EngineStartError where it does not start."""
    running = RunningEngine(start_vllm(EngineStart(needs, device, log_file, memory_share=memory_share)), loop)
    try:
        yield running
    finally:
        running.close()
