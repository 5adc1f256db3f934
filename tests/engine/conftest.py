"""One real vLLM engine of the demo reasoner and one of the demo guard for all tests of this folder."""

import asyncio
from collections.abc import Iterator

import pytest

from safechain_ray import catalog
from safechain_ray.commands.gpu_check.cases import RunningEngine
from tests.engine.running_engine import start


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop on which the engines answer."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def reasoner(loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    with start(catalog.models()["demo-reasoner"], loop, tmp_path_factory.mktemp("reasoner")) as running:
        yield running


@pytest.fixture(scope="session")
def guard(loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    needs = catalog.judges()["demo-guard"].engine
    assert needs is not None
    with start(needs, loop, tmp_path_factory.mktemp("guard")) as running:
        yield running
