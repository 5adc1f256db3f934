"""Samples of one prompt in one request: joined, shared out, asked for again where the provider gives fewer."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.engines import api as api_engine
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.engines.api_wire import Usage, shared_usage
from safechain_ray.errors import BlockedError, RowError
from safechain_ray.types import Completion, Message, Request, Sampling
from tests.scripted_api import ScriptedApi, failure, serving

SAMPLED = Sampling(temperature=1.0, max_tokens=50)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_engine, "backoff", lambda attempt, rng: 0.001)


def choices(*texts: str | None, tokens: int = 30) -> web.Response:
    """An answer of several choices; None is one that the provider's filter withheld."""
    listed = [
        {
            "index": place,
            "finish_reason": "stop" if text else "content_filter",
            "message": {"content": text, "reasoning_content": "Hm." if text else None},
        }
        for place, text in enumerate(texts)
    ]
    return web.json_response({"choices": listed, "usage": {"prompt_tokens": 7, "completion_tokens": tokens}})


def ask(
    api: ScriptedApi, prompts: Sequence[str], most: int = 5, counts: Counter[str] | None = None, **limits: Any
) -> list[Completion | BaseException]:
    """What the engine makes of these prompts, each with a seed of its own, that come together."""
    entry = ApiEntry.model_validate(
        {"name": "m", "api_model": "m", "base_url": api.url, "most_choices": most, "family": "r1"}
        | {"prices": {"input": 1.0, "output": 1.0}}
    )
    heard = Counter() if counts is None else counts

    async def together() -> list[Completion | BaseException]:
        engine = start_api(ApiStart(entry, **limits, on_counts=lambda **new: heard.update(new)))
        requests = [
            Request(engine.render((Message("user", prompt),)), SAMPLED, 50, seed=seed)
            for seed, prompt in enumerate(prompts)
        ]
        answers = await asyncio.gather(*map(engine.generate, requests), return_exceptions=True)
        await engine.close()
        return answers

    return asyncio.run(together())


def as_many_as_asked(body: dict[str, Any]) -> web.Response:
    return choices(*(f"{body['messages'][-1]['content']} {place}" for place in range(body.get("n", 1))))


async def obeys(body: dict[str, Any], request: web.Request) -> web.Response:
    return as_many_as_asked(body)


def texts_of(answers: Sequence[Completion | BaseException]) -> list[str]:
    return [answer.text.rpartition("\n")[2] for answer in answers if isinstance(answer, Completion)]


def test_samples_of_one_prompt_are_one_request_and_each_gets_a_choice_of_its_own():
    counts: Counter[str] = Counter()
    with serving(obeys) as api:
        answers = ask(api, ["a", "a", "b", "a", "b"], counts=counts)
    assert texts_of(answers) == ["a 0", "a 1", "b 0", "a 2", "b 1"]
    assert sorted((body["messages"][-1]["content"], body["n"], body["seed"]) for body in api.bodies) == [
        ("a", 3, 0),
        ("b", 2, 2),
    ]
    assert (counts["requests"], counts["input_tokens"], counts["output_tokens"]) == (2, 14, 60)


def test_no_request_asks_for_more_than_the_provider_gives_at_once():
    with serving(obeys) as api:
        answers = ask(api, ["a"] * 7, most=3)
    assert len(texts_of(answers)) == 7
    assert sorted(body.get("n", 1) for body in api.bodies) == [1, 3, 3]


def test_what_a_provider_leaves_out_is_asked_for_again():
    async def one_too_few(body: dict[str, Any], request: web.Request) -> web.Response:
        return choices(*("x" for _ in range(max(1, body.get("n", 1) - 1))))

    with serving(one_too_few) as api:
        assert texts_of(ask(api, ["a"] * 4)) == ["x"] * 4
    assert [body.get("n", 1) for body in api.bodies] == [4, 1]


def test_a_provider_that_knows_no_n_gives_every_sample_all_the_same():
    async def one(body: dict[str, Any], request: web.Request) -> web.Response:
        return choices("x")

    with serving(one) as api:
        assert texts_of(ask(api, ["a"] * 3)) == ["x"] * 3
    assert len(api.bodies) == 3


def test_a_choice_that_was_withheld_is_blocked_and_the_others_stand():
    async def filters(body: dict[str, Any], request: web.Request) -> web.Response:
        return choices("x", None, "z")

    with serving(filters) as api:
        first, second, third = ask(api, ["a"] * 3)
    assert texts_of([first, third]) == ["x", "z"]
    assert isinstance(second, BlockedError)


def test_a_fault_is_tried_again_for_all_and_a_wrong_request_fails_them_all():
    left = [lambda: failure(500)]

    async def fails_once(body: dict[str, Any], request: web.Request) -> web.Response:
        return left.pop()() if left else as_many_as_asked(body)

    counts: Counter[str] = Counter()
    with serving(fails_once) as api:
        assert texts_of(ask(api, ["a"] * 3, counts=counts)) == ["a 0", "a 1", "a 2"]
    assert (counts["requests"], counts["retries"]) == (2, 1)

    async def wrong(body: dict[str, Any], request: web.Request) -> web.Response:
        return failure(400, "n is too large")

    with serving(wrong) as api:
        answers = ask(api, ["a"] * 3)
    assert [type(answer) for answer in answers] == [RowError] * 3
    assert len(api.bodies) == 1


def test_the_budget_reserves_what_all_choices_may_cost():
    # At $1 a million the prompt is reserved with about 300 tokens, and every choice with 50.
    with serving(obeys) as api:
        assert texts_of(ask(api, ["a"], max_cost=450e-6)) == ["a 0"]
        answers = ask(api, ["a"] * 5, max_cost=450e-6)
    assert all("not sent: the rest of the budget" in str(answer) for answer in answers)
    assert len(api.bodies) == 1


def test_a_bill_is_shared_out_by_length_and_nothing_of_it_is_lost():
    shares = shared_usage(Usage(7, 100, None), ["aaa", "a", ""])
    assert [share.output_tokens for share in shares] == [75, 25, 0]
    assert {share.input_tokens for share in shares} == {7}
    assert [share.output_tokens for share in shared_usage(Usage(7, 5, None), ["", ""])] == [2, 3]
    assert shared_usage(Usage(7, 100, 40), ["whole"]) == [Usage(7, 100, 40)]


def test_a_choice_that_failed_is_asked_for_again_and_the_others_are_kept():
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        if body.get("n", 1) == 1:
            return choices("late")
        listed = [{"index": 0, "finish_reason": "error", "message": {"content": ""}, "error": {"code": 502}}]
        listed += [{"index": place, "finish_reason": "stop", "message": {"content": f"{place}"}} for place in (1, 2)]
        return web.json_response({"choices": listed, "usage": {"prompt_tokens": 7, "completion_tokens": 30}})

    with serving(respond) as api:
        answers = ask(api, ["same"] * 3, most=3)
    assert all(isinstance(answer, Completion) for answer in answers)
    assert [body.get("n", 1) for body in api.bodies] == [3, 1]
