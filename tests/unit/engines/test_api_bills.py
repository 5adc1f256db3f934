"""Bills that are missing or can't be true, and a budget that is kept all the same."""

import json
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from safechain_ray.errors import RowError
from safechain_ray.types import Completion
from tests.scripted_api import chat, failure, serving
from tests.unit.engines.api_asking import KEY, always, ask, at_first

PRICES = {"input": 0.0, "output": 1000.0}  # the 50 tokens that a request may take cost five cents


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_API_KEY", KEY)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "12 tokens",
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 2**31, "completion_tokens": 2**40},
    ],
    ids=["none", "a text", "zeros", "more than there can be"],
)
def test_tokens_without_a_bill_are_estimated_and_cost_what_they_may_have_cost(usage: object):
    counts: Counter[str] = Counter()
    with serving(always(lambda: chat("I cannot.", usage=usage))) as api:
        (answer,) = ask(api, "four", counts=counts, prices=PRICES)
    assert isinstance(answer, Completion)
    assert (answer.prompt_tokens, answer.completion_tokens) == (1, 3)
    assert (counts["input_tokens"], counts["output_tokens"]) == (1, 3)
    assert (counts["cost_microdollars"], counts["estimated_bills"]) == (50_000, 1)


def test_a_bill_in_digits_is_a_bill():
    counts: Counter[str] = Counter()
    with serving(always(lambda: chat(usage={"prompt_tokens": "7", "completion_tokens": "10.0"}))) as api:
        (answer,) = ask(api, "Hi", counts=counts, prices=PRICES)
    assert isinstance(answer, Completion)
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 10)
    assert (counts["cost_microdollars"], counts["estimated_bills"]) == (10_000, 0)


def test_reasoning_billed_beside_the_completion_is_paid_and_is_the_thoughts():
    bill = {"prompt_tokens": 10, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 30}}
    counts: Counter[str] = Counter()
    with serving(always(lambda: chat("No.", usage=bill, reasoning_content="I think."))) as api:
        (answer,) = ask(api, "Hi", counts=counts, prices=PRICES)
    assert isinstance(answer, Completion)
    assert (answer.completion_tokens, answer.thought_tokens) == (37, 30)
    assert counts["cost_microdollars"] == 37_000


def test_the_budget_is_kept_by_a_provider_that_sends_no_bill():
    with serving(always(lambda: chat("I cannot.", usage=None))) as api:
        answers = ask(api, *map(str, range(30)), max_cost=0.3, prices=PRICES)
    assert len(api.bodies) == 6
    assert sum(isinstance(answer, Completion) for answer in answers) == 6
    assert "the rest of the budget of $0.3 is less" in str(answers[-1])


def test_one_row_with_a_wrong_bill_or_half_a_character_is_no_other_rows_matter():
    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        match body["messages"][0]["content"]:
            case "bill":
                return chat("Much.", usage={"prompt_tokens": 2**40, "completion_tokens": 2**40})
            case "half":
                return web.Response(
                    text=r'{"choices": [{"message": {"content": "half: \ud83d"}, "finish_reason": "stop"}]}',
                    content_type="application/json",
                )
        return chat()

    with serving(respond) as api:
        bill, half, usual = ask(api, "bill", "half", "usual")
    assert isinstance(bill, Completion)
    assert isinstance(half, Completion)
    assert isinstance(usual, Completion)
    assert bill.completion_tokens < 10
    assert half.text == "half: �"
    assert usual.completion_tokens == 10


def test_a_key_that_a_server_quotes_in_an_answer_is_removed():
    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        key = request.headers["Authorization"]
        return chat(f"You sent {key}.", key if body["messages"][0]["content"] == "reason" else "stop")

    with serving(respond) as api:
        error, answer = ask(api, "reason", "content")
    assert type(error) is RowError
    assert isinstance(answer, Completion)
    assert answer.text == "You sent Bearer ***."
    assert KEY not in f"{error}{answer}"


@pytest.mark.parametrize(
    "answer",
    [
        {"usage": {"prompt_tokens": 10**400, "completion_tokens": 2**31}},
        {"usage": {"prompt_tokens": "1e999", "completion_tokens": float("nan")}},
        {"logprobs": {"content": [{"top_logprobs": [{"token": "A", "logprob": 10**400}]}]}},
        {"logprobs": {"content": [{"top_logprobs": [{"token": ["A"], "logprob": -0.1}, None, 7]}, None]}},
    ],
)
def test_a_number_that_nothing_can_hold_costs_no_answer(answer: dict[str, Any]):
    choice = {"finish_reason": "stop", "message": {"content": "Hello"}, "logprobs": answer.get("logprobs")}
    body = json.dumps({"choices": [choice], "usage": answer.get("usage")})
    with serving(always(lambda: web.Response(text=body, content_type="application/json"))) as api:
        (completion,) = ask(api, "Hi")
    assert isinstance(completion, Completion)
    assert completion.text == "Hello"
    assert completion.completion_tokens < 2**31


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
def test_half_a_character_is_replaced_in_any_encoding_of_json(encoding: str):
    body = '{"choices": [{"message": {"content": "half: \ud83d"}, "finish_reason": "stop"}]}'
    raw = body.encode(encoding, "surrogatepass")
    with serving(always(lambda: web.Response(body=raw, content_type="application/json"))) as api:
        (completion,) = ask(api, "Hi")
    assert isinstance(completion, Completion)
    assert completion.text.startswith("half: \ufffd")


def test_a_date_beyond_all_calendars_delays_nothing():
    headers = {"Retry-After": "Mon, 01 Jan 0001 00:00:00 -0000"}
    with serving(at_first(lambda request: failure(429, headers=headers))) as api:
        (completion,) = ask(api, "Hi")
    assert isinstance(completion, Completion)
