"""The API engine against a local server that answers, fails, stalls and lies as it is told."""

import asyncio
import platform
import random
import socket
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from safechain_ray.catalog.entries import ApiEntry, Prices
from safechain_ray.engines import api as api_engine
from safechain_ray.engines import api_faults
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.engines.api_gate import FIRST_LIMIT
from safechain_ray.errors import BlockedError, EngineRefusedError, EngineStartError, RowError
from safechain_ray.types import Completion, Sampling
from tests.scripted_api import chat, failure, reset, serving
from tests.unit.engines.api_asking import KEY, always, ask, at_first


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_engine, "backoff", lambda attempt, rng: 0.001)
    monkeypatch.setenv("TEST_API_KEY", KEY)


def failed_choice(error: object) -> web.Response:
    choice = {"index": 0, "finish_reason": "error", "message": {"content": ""}, "error": error}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 0, "completion_tokens": 0}})


def test_an_answer_comes_with_its_thought_its_tokens_and_its_cost():
    counts: Counter[str] = Counter()
    with serving(always(lambda: chat("Hello", reasoning_content="Greet."))) as api:
        (answer,) = ask(api, "Hi", counts=counts, prices={"input": 1.0, "output": 100.0})
    assert isinstance(answer, Completion)
    assert answer.text == "<think>\nGreet.\n</think>\n\nHello"
    assert (answer.prompt_tokens, answer.completion_tokens, answer.thought_tokens) == (7, 10, 3)
    assert (counts["requests"], counts["retries"], counts["cost_microdollars"]) == (1, 0, 1007)
    assert (counts["input_tokens"], counts["output_tokens"]) == (7, 10)


def test_a_settings_body_is_sent_with_the_entrys_and_wins():
    sent: list[dict[str, Any]] = []

    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        sent.append(body)
        return chat("Hello", reasoning_content="Greet.")

    own = {"chat_template_kwargs": {"keep": True, "enable_thinking": True}, "user": "me"}
    given = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}
    with serving(respond) as api:
        ask(api, "Hi", extra_body=own, arguments=given)
    (body,) = sent
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert body["chat_template_kwargs"] == {"keep": True, "enable_thinking": False}
    assert (body["reasoning_effort"], body["user"]) == ("low", "me")


def test_an_endpoint_that_does_not_answer_is_reported_once_with_the_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api_faults, "SILENCE_SECONDS", 0.0)
    notes: list[str] = []
    with serving(always(chat)) as api:
        ask(api, "a", "b", notes=notes, base_url="http://127.0.0.1:9/v1")
    (note,) = notes
    assert note.startswith("No answer from http://127.0.0.1:9/v1 yet: connection: ")
    assert note.endswith("Fix: check that the server runs, or correct the address with --base-url URL.")


def test_a_request_without_a_connection_does_not_count():
    """The errors of a server that is down name it, not a budget that it used up."""
    counts: Counter[str] = Counter()
    with serving(always(chat)) as api:
        answers = ask(api, *"abcdef", counts=counts, base_url="http://127.0.0.1:9/v1", max_requests=4)
    assert all("failed 10 times. The last error: connection: " in str(error) for error in answers)
    assert (counts["requests"], counts["retries"]) == (0, 6 * 9)


def test_a_server_that_accepts_no_connection_in_time_costs_nothing():
    """A firewall may drop packets: no server answers, and none refuses."""
    prices = Prices(input=0, output=1000)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        queued = [socket.create_connection(address), socket.socket()]  # the queue is full from here on
        queued[1].setblocking(False)
        queued[1].connect_ex(address)
        url = f"http://127.0.0.1:{address[1]}/v1"
        with serving(always(chat)) as api:
            (error,) = ask(api, "a", base_url=url, timeout_seconds=1, max_cost=0.2, prices=prices)
        for each in queued:
            each.close()
    assert "failed 10 times. The last error: connection: " in str(error)


def test_an_endpoint_that_answers_or_is_silent_for_a_moment_only_is_not_reported(monkeypatch: pytest.MonkeyPatch):
    notes: list[str] = []
    with serving(at_first(lambda request: failure(500))) as api:
        ask(api, "a", notes=notes)
    monkeypatch.setattr(api_faults, "SILENCE_SECONDS", 0.0)
    answered = at_first(lambda request: chat(), lambda request: failure(500))
    with serving(answered) as api:
        ask(api, "a", "b", notes=notes, max_running=1)
    assert notes == []


def test_a_request_holds_the_model_the_turns_and_only_the_sampling_that_was_asked_for():
    with serving(always(chat)) as api:
        ask(api, "Hi", sampling=Sampling(temperature=0.5, top_k=5), omits=("seed",), extra_body={"mode": "x"})
        ask(api, "Hi", omits=("temperature",))
    first, second = api.bodies
    assert first.pop("messages") == [{"role": "user", "content": "Hi"}]
    assert first == {"model": "model-1", "temperature": 0.5, "max_tokens": 50, "top_k": 5, "mode": "x"}
    assert second.keys() == {"model", "messages", "max_tokens"}


@pytest.mark.parametrize(
    "fault",
    [
        lambda request: failure(429, headers={"Retry-After": "0.01"}),
        lambda request: failure(500),
        lambda request: failure(503),
        lambda request: failure(408),
        reset,
        lambda request: web.Response(text="<html>Bad gateway</html>", content_type="text/html"),
        lambda request: web.Response(text='{"choices": [', content_type="application/json"),
        lambda request: web.json_response({"choices": []}),
        lambda request: web.json_response({"error": {"code": 502, "message": "upstream"}}),
        lambda request: failed_choice({"code": 502, "message": "upstream timeout"}),
        lambda request: failed_choice({"code": 403, "message": "the upstream key is wrong"}),
        lambda request: failed_choice(None),
    ],
    ids=[
        *("429", "500", "503", "408", "reset", "HTML", "torn JSON", "no choice", "error under 200"),
        *("error in a choice", "error in a choice that would end a run", "finish reason error"),
    ],
)
def test_what_passes_is_tried_again_and_counted_and_paid_once(fault: Any):
    counts: Counter[str] = Counter()
    with serving(at_first(fault)) as api:
        (answer,) = ask(api, "Hi", counts=counts)
    assert isinstance(answer, Completion)
    assert (counts["requests"], counts["retries"]) == (2, 1)
    assert api.paid == {"Hi": 1}


def test_a_request_without_an_answer_is_sent_again_after_its_timeout():
    async def stalls_once(body: dict[str, Any], request: web.Request) -> web.Response:
        if len(api.bodies) == 1:
            await asyncio.sleep(3)
        return chat()

    with serving(stalls_once) as api:
        (answer,) = ask(api, "Hi", timeout_seconds=0.3)
    assert isinstance(answer, Completion)
    assert len(api.bodies) == 2


def test_tries_are_bounded_and_the_row_says_how_they_ended():
    with serving(always(lambda: failure(500, "out of order"))) as api:
        (error,) = ask(api, "Hi")
    assert type(error) is RowError
    assert str(error) == "model-1 at 127.0.0.1 failed 10 times. The last error: 500: out of order"
    assert len(api.bodies) == 10


def test_all_wait_as_long_as_the_provider_asks():
    with serving(at_first(lambda request: failure(429, headers={"Retry-After": "0.5"}))) as api:
        started = asyncio.new_event_loop().time()
        ask(api, "Hi")
        assert asyncio.new_event_loop().time() - started >= 0.5


@pytest.mark.parametrize(
    "response",
    [
        lambda: chat(None, "content_filter"),
        lambda: failure(400, "Content Exists Risk"),
        lambda: failure(400, code="content_filter"),
    ],
)
def test_a_content_filter_blocks_the_row_and_is_not_argued_with(response: Any):
    with serving(always(response)) as api:
        (error,) = ask(api, "Hi")
    assert isinstance(error, BlockedError)
    assert len(api.bodies) == 1


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (401, "environment variable TEST_API_KEY"),
        (403, "environment variable TEST_API_KEY"),
        (404, "the model id 'model-1' .*--set model.api_model=ID.*--base-url URL"),
        (402, "no money or quota"),
    ],
)
def test_what_no_request_escapes_ends_all_of_them_at_once(status: int, fix: str):
    with serving(always(lambda: failure(status, f"wrong: {KEY}"))) as api:
        errors = ask(api, *map(str, range(100)))
    assert {type(error) for error in errors} == {EngineRefusedError}
    with pytest.raises(EngineRefusedError, match=fix):
        raise errors[0]  # type: ignore[misc]
    assert len(api.bodies) <= FIRST_LIMIT


def test_the_whole_traceback_of_a_refusal_is_free_of_a_key_that_the_provider_quotes():
    """Ray logs tracebacks with all that an error was raised from."""
    with serving(always(lambda: failure(401, f"{KEY} is no key"))) as api:
        (error,) = ask(api, "Hi")
    assert isinstance(error, EngineRefusedError)
    assert KEY not in "".join(traceback.format_exception(error))


def test_without_a_key_a_refusal_says_how_to_name_one():
    with serving(always(lambda: failure(401))) as api:
        (error,) = ask(api, "Hi", api_key_env=None)
    assert "--set model.api_key_env=NAME" in str(error)
    assert "secret" not in str(api.headers)


def test_a_refused_judge_names_the_keys_of_a_judge():
    with serving(always(lambda: failure(401))) as api:
        (error,) = ask(api, "Hi", api_key_env=None, is_judge=True)
    assert "--set judge.endpoint.api_key_env=NAME" in str(error)


def test_a_parameter_that_every_request_has_wrong_ends_the_run():
    with serving(always(lambda: failure(400, "unknown parameter temperature"))) as api:
        errors = ask(api, *map(str, range(50)))
    assert {type(error) for error in errors} == {RowError, EngineRefusedError}
    assert len(api.bodies) < 30
    assert "model.api.omits=[temperature]" in str(errors[-1])


def test_a_wrong_request_among_right_ones_is_a_row():
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        return failure(400, "too long") if body["messages"][0]["content"] == "bad" else chat()

    with serving(respond) as api:
        *right, wrong = ask(api, "a", "b", "bad")
    assert all(isinstance(answer, Completion) for answer in right)
    assert str(wrong) == "the provider refused the request with 400: too long"


def test_the_key_goes_to_the_server_and_nowhere_else():
    with serving(always(lambda: failure(500, f"your key {KEY} is fine"))) as api:
        (error,) = ask(api, "Hi")
        entry = ApiEntry(name="m", api_model="m", base_url=api.url, api_key_env="TEST_API_KEY")
    assert api.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "your key *** is fine" in str(error)
    assert KEY not in repr(entry) + entry.model_dump_json() + repr(vars(error)) + repr(start_api(ApiStart(entry)))


def test_without_its_key_no_engine_starts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TEST_API_KEY")
    entry = ApiEntry(name="m", api_model="model-1", base_url="http://h/v1", api_key_env="TEST_API_KEY")
    with pytest.raises(EngineStartError, match="set the environment variable TEST_API_KEY") as failed:
        start_api(ApiStart(entry))
    assert f"did not start in the environment of node {platform.node()}. No key for model-1 at h. Fix:" in str(
        failed.value
    )


def test_beyond_the_budget_of_requests_none_is_sent():
    with serving(always(chat)) as api:
        answers = ask(api, *map(str, range(30)), max_requests=12)
    assert len(api.bodies) == 12
    assert [isinstance(answer, Completion) for answer in answers].count(True) == 12
    spent = "the budget of 12 requests is spent. Fix: rerun the command with a larger --max-requests."
    assert spent in str(answers[-1])


def test_the_bill_stays_within_the_budget_and_uses_it():
    prices = Prices(input=0, output=1000)  # 10 tokens cost a cent, the 50 that a request may take five
    with serving(always(chat)) as api:
        answers = ask(api, *map(str, range(60)), max_cost=0.3, prices=prices)
    assert 0.25 <= 0.01 * len(api.bodies) <= 0.3
    assert "the rest of the budget of $0.3 is less than this request may cost" in str(answers[-1])


def test_no_more_requests_than_the_cap_are_under_way():
    async def slowly(body: dict[str, Any], request: web.Request) -> web.Response:
        await asyncio.sleep(0.01)
        return chat()

    with serving(slowly) as api:
        ask(api, *map(str, range(60)), max_concurrent=5)
    assert api.most_at_once == 5


def test_with_a_third_of_requests_failing_each_prompt_is_answered_and_paid_once():
    rng = random.Random(1)
    faults: list[Callable[[web.Request], web.StreamResponse]] = [
        lambda request: failure(429, headers={"Retry-After": "0.01"}),
        lambda request: failure(500),
        reset,
        lambda request: web.Response(text="garbage"),
    ]

    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.002)
        return rng.choice(faults)(request) if rng.random() < 0.3 else chat()

    counts: Counter[str] = Counter()
    prompts = [f"prompt {number}" for number in range(300)]
    with serving(respond) as api:
        answers = ask(api, *prompts, counts=counts)
    assert all(isinstance(answer, Completion) for answer in answers)
    assert api.paid == dict.fromkeys(prompts, 1)
    assert counts["requests"] == len(api.bodies) == 300 + counts["retries"]
    assert 1 <= counts["concurrency"] <= 64
