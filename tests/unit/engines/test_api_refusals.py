"""What providers refuse: content in many forms, parameters by name, and what ends the run."""

from typing import Any

import pytest
from aiohttp import web

from safechain_ray.engines import api as api_engine
from safechain_ray.errors import BlockedError, EngineRefusedError, RowError
from safechain_ray.types import Completion, Sampling
from tests.scripted_api import chat, failure, serving
from tests.unit.engines.api_asking import KEY, always, ask

XAI = {
    "code": "The caller does not have permission to execute the specified operation",
    "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_engine, "backoff", lambda attempt, rng: 0.001)
    monkeypatch.setenv("TEST_API_KEY", KEY)


def newer_name(body: dict[str, Any]) -> web.Response | None:
    """OpenAI's refusal of the older name of the limit."""
    if "max_tokens" not in body:
        return None
    text = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    return failure(400, text, param="max_tokens", code="unsupported_parameter")


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: web.json_response(XAI, status=403),
        lambda: failure(400, "Invalid prompt: it was flagged.", code="invalid_prompt"),
        lambda: failure(400, "unsafe content", code="1301"),
        lambda: failure(502, "This content was flagged.", code=502),
    ],
    ids=["xAI", "OpenAI", "Zhipu", "a gateway"],
)
def test_a_run_whose_first_prompts_are_all_refused_for_their_content_does_not_end(refusal: Any):
    with serving(always(refusal)) as api:
        errors = ask(api, *map(str, range(15)))
    assert {type(error) for error in errors} == {BlockedError}
    assert len(api.bodies) == 15


def test_the_limit_is_sent_by_its_newer_name_once_the_provider_has_said_so():
    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return newer_name(body) or chat()

    with serving(respond) as api:
        answers = ask(api, *map(str, range(20)), max_concurrent=2)
    assert all(isinstance(answer, Completion) for answer in answers)
    assert sum("max_tokens" in body for body in api.bodies) <= 2
    assert [body["max_completion_tokens"] for body in api.bodies if "max_tokens" not in body] == [50] * 20


def test_the_entry_may_name_the_limit():
    with serving(always(chat)) as api:
        ask(api, "Hi", max_tokens_parameter="max_completion_tokens")
    assert api.bodies[0]["max_completion_tokens"] == 50
    assert "max_tokens" not in api.bodies[0]


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            lambda: failure(400, "Unsupported value", param="temperature"),
            "400: Unsupported value (parameter temperature)",
        ),
        (
            lambda: web.json_response(
                {"detail": [{"loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]}, status=422
            ),
            "422: body.top_k: Extra inputs are not permitted",
        ),
        (lambda: web.json_response({"detail": "no such field"}, status=400), "400: no such field"),
        (lambda: web.json_response({"message": "bad", "code": 400}, status=400), "400: bad"),
        (lambda: web.json_response({"errors": [{"message": "bad"}]}, status=400), "400: bad"),
        (lambda: web.json_response({"error": "bad"}, status=400), "400: bad"),
        (lambda: web.Response(text="bad", status=400), "400: bad"),
    ],
)
def test_a_wrong_request_says_what_the_provider_says(refusal: Any, words: str):
    with serving(always(refusal)) as api:
        (error,) = ask(api, "Hi", sampling=Sampling(temperature=0.5, top_k=5))
    assert type(error) is RowError
    assert str(error) == f"the provider refused the request with {words}"


def test_a_parameter_that_is_refused_is_named_in_the_fix():
    with serving(always(lambda: failure(400, "top_k is not supported"))) as api:
        errors = ask(api, *map(str, range(30)), sampling=Sampling(temperature=0.5, top_k=5))
    assert "Fix: leave out" in str(errors[-1])
    assert "--set 'model.api.omits=[top_k]'" in str(errors[-1])


def forbids(*prompts: str) -> Any:
    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return failure(403, "no") if body["messages"][0]["content"] in prompts else chat()

    return respond


def test_a_prompt_that_is_forbidden_among_right_ones_is_a_row():
    with serving(forbids("bad")) as api:
        *right, bad, last = ask(api, "a", "b", "bad", "c", max_concurrent=1)
    assert str(bad) == "the provider refused the request with 403: no"
    assert all(isinstance(answer, Completion) for answer in (*right, last))


def test_a_key_that_is_withdrawn_ends_the_run():
    prompts = [f"bad {number}" for number in range(40)]
    with serving(forbids(*prompts)) as api:
        _, *errors = ask(api, "good", *prompts, max_concurrent=1)
    assert type(errors[-1]) is EngineRefusedError
    assert "environment variable TEST_API_KEY" in str(errors[-1])
    assert len(api.bodies) == 12
