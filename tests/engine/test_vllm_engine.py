"""A real vLLM engine on CPU, behind the project's protocol."""

import asyncio
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from running_engine import GREEDY, SAMPLED, RunningEngine, start

from safechain_ray import catalog
from safechain_ray.errors import EngineDiedError, EngineStartError, RowError
from safechain_ray.schema import Completion, Request


def ask(running: RunningEngine, **changes: object) -> Request:
    request = Request(running.chat("How do I bake bread?"), GREEDY, max_tokens=300)
    return replace(request, **changes)  # type: ignore[arg-type]


def test_greedy_answers_are_the_same_every_time(reasoner: RunningEngine) -> None:
    first, second = reasoner.complete(ask(reasoner), ask(reasoner))
    assert first.text == second.text
    assert first.finish_reason == "stop"
    assert first.stop_string is None


def test_a_seed_fixes_a_sampled_answer_whatever_runs_beside_it(reasoner: RunningEngine) -> None:
    seeded = ask(reasoner, sampling=SAMPLED, seed=5)
    crowd = [ask(reasoner, sampling=SAMPLED, seed=seed) for seed in range(100, 140)]
    (alone,) = reasoner.complete(seeded)
    among_others, *rest = reasoner.complete(seeded, *crowd)
    assert among_others.text == alone.text
    assert len({completion.text for completion in rest}) > 10


def test_tokens_are_counted_without_a_second_bos(reasoner: RunningEngine) -> None:
    request = ask(reasoner)
    assert request.prompt.count("<｜begin▁of▁sentence｜>") == 1
    (completion,) = reasoner.complete(request)
    assert completion.prompt_tokens == reasoner.engine.count_tokens(request.prompt)
    assert completion.completion_tokens >= reasoner.engine.count_tokens(completion.text)


def test_a_stop_string_ends_the_text_before_it_and_is_named(reasoner: RunningEngine) -> None:
    (completion,) = reasoner.complete(ask(reasoner, stop=("</think>",)))
    assert completion.stop_string == "</think>"
    assert "</think>" not in completion.text


def test_the_token_limit_is_a_finish_reason(reasoner: RunningEngine) -> None:
    (completion,) = reasoner.complete(ask(reasoner, max_tokens=3))
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 3)


def test_log_probabilities_are_ranked_and_sum_to_at_most_one(reasoner: RunningEngine) -> None:
    import math

    (completion,) = reasoner.complete(ask(reasoner, logprobs=10, max_tokens=5))
    assert len(completion.logprobs) == 5
    for position in completion.logprobs:
        values = list(position.values())
        assert values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1.0 + 1e-4


def test_a_prompt_longer_than_the_context_fails_alone(reasoner: RunningEngine) -> None:
    with pytest.raises(RowError, match=r"the prompt takes \d+ tokens, the model's context holds 2048"):
        reasoner.complete(ask(reasoner, prompt=reasoner.chat("word " * 5000)))
    (completion,) = reasoner.complete(ask(reasoner))
    assert completion.finish_reason == "stop"


def test_what_does_not_fit_behind_the_prompt_is_cut_at_the_context(reasoner: RunningEngine) -> None:
    prompt = reasoner.chat("word " * 1990)
    room = 2048 - reasoner.engine.count_tokens(prompt)
    assert 0 < room < 300
    (completion,) = reasoner.complete(ask(reasoner, prompt=prompt, max_tokens=300))
    assert completion.completion_tokens <= room


def test_an_engine_that_can_not_start_shows_the_end_of_its_log(reasoner: RunningEngine, tmp_path: object) -> None:
    needs = catalog.models()["demo-reasoner"].model_copy(update={"context_length": 1_000_000})
    with (
        pytest.raises(EngineStartError, match=r"(?s)did not start: .*The end of its log"),
        start(needs, reasoner.loop, tmp_path),  # type: ignore[arg-type]
    ):
        pass


def engine_cores() -> set[int]:
    """The process ids of vLLM's engine cores below this process."""
    return {child.pid for child in psutil.Process().children() if "VLLM::EngineCor" in " ".join(child.cmdline())}


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
