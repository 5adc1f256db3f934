"""A vLLM engine with its event loop, for tests that are not coroutines themselves."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from installed_device import INSTALLED_DEVICE

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.engines.start import EngineStart
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.schema import Completion, Engine, Message, Request, Sampling

Result = TypeVar("Result")

SHARE_OF_A_GPU = 0.2

GREEDY = Sampling(max_tokens=300)
SAMPLED = Sampling(temperature=0.8, top_p=0.95, max_tokens=300)


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


@contextmanager
def start(needs: EngineNeeds, loop: asyncio.AbstractEventLoop, folder: Path) -> Iterator[RunningEngine]:
    if INSTALLED_DEVICE == "cuda":  # the engines of a test session share one GPU
        share = {"gpu_memory_utilization": SHARE_OF_A_GPU}
        needs = needs.model_copy(update={"engine_kwargs": {**needs.engine_kwargs, **share}})
    engine = start_vllm(EngineStart(needs, INSTALLED_DEVICE, folder / "engine.log"))
    yield RunningEngine(engine, loop)
    loop.run_until_complete(engine.close())
