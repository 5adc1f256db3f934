"""Engines of the installed vLLM for tests: on a GPU each has a share, as the engines of a test session run together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.commands.gpu_check.cases import RunningEngine, running_engine
from tests.installed_device import INSTALLED_DEVICE

SHARE_OF_A_GPU = 0.2


@contextmanager
def start(needs: EngineNeeds, loop: asyncio.AbstractEventLoop, folder: Path) -> Iterator[RunningEngine]:
    share = SHARE_OF_A_GPU if INSTALLED_DEVICE == "cuda" else None
    with running_engine(needs, INSTALLED_DEVICE, folder / "engine.log", loop, share) as running:
        yield running
