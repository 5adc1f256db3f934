"""Errors of providers, by status and body: another try, a blocked or a wrong row, or the end of the run."""

import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.engines.api_faults import (
    LONGEST_BACKOFF,
    LONGEST_QUOTE,
    LONGEST_RETRY_AFTER,
    RefusesAllError,
    backoff,
    read_status,
    retry_after,
)
from safechain_ray.errors import BlockedError, RowError
from safechain_ray.types.known_secrets import KnownSecrets


def error(message: str = "no", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529, 599])
def test_what_passes_is_tried_again_and_too_much_work_is_an_overload(status: int):
    fault = read_status(status, error("busy"), {}, 0.0)
    assert fault.text == f"{status}: busy"
    assert fault.overload == (status in (429, 503, 529))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error(code="content_filter")),
        (400, error(code="content_policy_violation")),
        (400, error("The request was rejected because it was considered high risk", type="content_filter")),
        (400, error("Content Exists Risk", type="invalid_request_error")),
        (400, error(code="data_inspection_failed")),
        (403, error("flagged", metadata={"reasons": ["violence"]})),
        (400, [error("blocked: PROHIBITED_CONTENT")]),
        (403, {"code": "permission-denied", "error": "Content violates usage guidelines. "}),
        (400, error("Invalid prompt: it was flagged.", code="invalid_prompt")),
        (400, error("Invalid prompt: we've limited access to this content for safety reasons.", code="invalid_prompt")),
        (400, error("x", code="1301")),
        (400, error("x", code=1301)),
        (502, error("This content was flagged.", code=502)),
        (403, error("Your prompt was flagged as potentially violating our usage policy.")),
        (400, error("The user prompt was flagged by our moderation system.")),
        (400, error("Your organization's request was flagged by content moderation")),
        (400, error("no", code="", innererror={"code": "ResponsibleAIPolicyViolation"})),
        (400, error("no", code=None, inner_error={"code": "ResponsibleAIPolicyViolation"})),
        (502, error("no", metadata={"reasons": ["violence"]})),
        (500, error("no", code="content_filter")),
        (500, error("The prompt was flagged by our moderation system.")),
        (500, error("Content Exists Risk")),
    ],
    ids=[
        *("Azure", "OpenAI", "Moonshot", "DeepSeek", "Alibaba", "OpenRouter", "Gemini", "xAI"),
        *("OpenAI's invalid prompt", "OpenAI's limited access", "Zhipu", "Z.ai", "a gateway", "OpenAI's policy"),
        *("a user's prompt", "an organization's request", "Azure's inner error", "Azure's inner error, snake case"),
        *("OpenRouter as 502", "a code as 500", "an error in the place of an answer", "DeepSeek as 500"),
    ],
)
def test_a_content_filter_blocks_the_row(status: int, body: Any):
    with pytest.raises(BlockedError, match=str(status)):
        read_status(status, body, {}, 0.0)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_wrong_request_is_a_row_error_with_the_providers_words(status: int):
    with pytest.raises(RowError, match=f"{status}: prompt too long") as refused:
        read_status(status, error("prompt too long"), {}, 0.0)
    assert type(refused.value) is RowError


def test_secrets_are_removed_from_a_message_before_it_is_cut():
    secret = "sk-CanaryOfAnAttack0815"
    for padding in range(LONGEST_QUOTE - 40, LONGEST_QUOTE):
        message = "x" * padding + secret.replace("-", "\u200b-")
        fault = read_status(500, error(message), {}, 0.0, KnownSecrets.of(secret).removed_from_message)
        assert "sk" not in fault.text
        assert len(fault.text) <= LONGEST_QUOTE


def test_an_account_that_was_flagged_or_a_prompt_that_is_malformed_is_no_filter():
    with pytest.raises(RefusesAllError):
        read_status(403, error("Your account was flagged; this request is refused."), {}, 0.0)
    with pytest.raises(RowError, match="schema") as malformed:
        read_status(400, error("Invalid prompt: it matches no schema.", code="invalid_prompt"), {}, 0.0)
    assert type(malformed.value) is RowError
    assert read_status(502, error("upstream timeout"), {}, 0.0).text == "502: upstream timeout"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "Your request was flagged for exceeding rate limits"),
        (429, "This content was flagged."),
        (500, "output flagged unhealthy node"),
        (500, "Your request was flagged for exceeding rate limits"),
        (503, "the request was routed to a node that is flagged"),
    ],
)
def test_a_limit_or_a_failed_server_that_speaks_of_flags_is_no_filter(status: int, message: str):
    assert read_status(status, error(message), {}, 0.0).text == f"{status}: {message}"


@pytest.mark.parametrize(
    "message",
    ["Your account was flagged.", "The API key of this request is flagged: your user was flagged for abuse"],
)
def test_a_user_who_was_flagged_ends_the_run(message: str):
    with pytest.raises(RefusesAllError):
        read_status(403, error(message), {}, 0.0)


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, ""), (402, ""), (403, ""), (404, ""), (429, "insufficient_quota"), (429, "1113")],
)
def test_what_no_request_escapes_ends_the_run(status: int, code: str):
    with pytest.raises(RefusesAllError) as refused:
        read_status(status, error("no", code=code), {}, 0.0)
    assert refused.value.status == status


def test_the_provider_may_name_seconds_or_a_date_to_wait():
    assert retry_after({"retry-after": "2.5"}, 0.0) == 2.5
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 20.0) == 40.0
    assert retry_after({"retry-after": "99999"}, 0.0) == LONGEST_RETRY_AFTER


@given(st.text())
def test_whatever_it_names_the_wait_is_bounded(wish: str):
    assert 0 <= retry_after({"retry-after": wish}, 1e9) <= LONGEST_RETRY_AFTER


@given(
    st.integers(100, 599), st.recursive(st.none() | st.text(), lambda b: st.lists(b) | st.dictionaries(st.text(), b))
)
def test_no_body_ends_in_another_error(status: int, body: Any):
    with suppress(RowError, RefusesAllError):
        read_status(status, {"error": body}, {}, 0.0)


@given(st.integers(1, 40), st.integers())
def test_the_wait_between_tries_is_jittered_and_bounded(attempt: int, seed: int):
    assert 0 <= backoff(attempt, random.Random(seed)) <= LONGEST_BACKOFF
