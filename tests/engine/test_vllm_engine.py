"""A real vLLM engine on CPU, behind the project's protocol."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from safechain_ray import catalog
from safechain_ray.commands.gpu_check.cases import CASES, SAMPLED, RunningEngine, ask
from safechain_ray.commands.gpu_check.check import title_of
from safechain_ray.errors import EngineDiedError, EngineStartError
from safechain_ray.types import Completion
from tests.engine.running_engine import start


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_engine_passes_the_cases_of_the_gpu_check(
    case: Callable[[RunningEngine], None], reasoner: RunningEngine
) -> None:
    case(reasoner)


def test_a_seed_fixes_a_sampled_answer_whatever_runs_beside_it(reasoner: RunningEngine) -> None:
    seeded = ask(reasoner, sampling=SAMPLED, seed=5)
    crowd = [ask(reasoner, sampling=SAMPLED, seed=seed) for seed in range(100, 140)]
    (alone,) = reasoner.complete(seeded)
    among_others, *rest = reasoner.complete(seeded, *crowd)
    assert among_others.text == alone.text
    assert len({completion.text for completion in rest}) > 10


def test_an_engine_that_can_not_start_shows_the_end_of_its_log(reasoner: RunningEngine, tmp_path: object) -> None:
    needs = catalog.models()["demo-reasoner"].model_copy(update={"context_length": 1_000_000})
    with (
        pytest.raises(EngineStartError, match=r"(?s)did not start: .*The end of its log"),
        start(needs, reasoner.loop, tmp_path),  # type: ignore[arg-type]
    ):
        pass


def engine_cores() -> set[int]:
    """The process ids of vLLM's engine cores below this process."""
    return {child.pid for child in psutil.Process().children() if "VLLM::EngineCor" in title_of(child)}


def test_every_request_of_an_engine_core_that_is_killed_ends_at_once(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    """Those in flight, those that arrive before vLLM notices, and those that arrive after the engine was closed."""
    others = engine_cores()
    with start(catalog.models()["demo-reasoner"], loop, tmp_path) as running:
        (core,) = engine_cores() - others
        requests = [ask(running, sampling=SAMPLED, seed=seed) for seed in range(60)]

        async def each(number: int) -> str | BaseException:
            await asyncio.sleep(number * 0.02)
            if number == 20:
                psutil.Process(core).kill()
            try:
                return (await running.engine.generate(requests[number])).text
            except Exception as error:
                return error

        async def together() -> list[str | BaseException]:
            return await asyncio.wait_for(asyncio.gather(*map(each, range(60))), timeout=60)

        died = [outcome for outcome in running.wait(together()) if not isinstance(outcome, str)]
        assert len(died) >= 40
        assert {type(outcome) for outcome in died} == {EngineDiedError}
        running.wait(running.engine.close())
        with pytest.raises(EngineDiedError, match="closed"):
            running.complete(requests[0])


def test_requests_in_flight_end_when_their_engine_is_closed(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    with start(catalog.models()["demo-reasoner"], loop, tmp_path) as running:
        requests = [ask(running, sampling=SAMPLED, seed=seed) for seed in range(60)]

        async def closed_under_requests() -> list[Completion | BaseException]:
            answers = asyncio.gather(*map(running.engine.generate, requests), return_exceptions=True)
            await asyncio.sleep(0.05)
            await running.engine.close()
            return await asyncio.wait_for(answers, timeout=60)

        outcomes = running.wait(closed_under_requests())
        assert len(outcomes) == 60
        assert {type(outcome) for outcome in outcomes} == {EngineDiedError}
