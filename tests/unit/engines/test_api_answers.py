"""Chat completions as providers write them: where the thought stands, what was withheld, what is no answer at all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.decoding.split import split_response
from safechain_ray.engines.api_answers import (
    ApiAnswer,
    InterruptedAnswerError,
    UnusableAnswerError,
    Usage,
    decode_body,
    read_answer,
    read_logprobs,
    read_usage,
    thought_tokens,
)
from safechain_ray.errors import BlockedError, RowError
from safechain_ray.schema import ThinkingTags

TAGS = ThinkingTags("<think>", "</think>")


def body(finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": finish_reason, "message": {"role": "assistant", **message}}]}


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hello", "reasoning_content": "Greet."},
        {"content": "Hello", "reasoning": "Greet."},
        {"content": "Hello", "reasoning": "Greet.", "reasoning_content": None},
        {"content": "<think>\nGreet.\n</think>\n\nHello"},
        {"content": "Greet.\n</think>\n\nHello"},
    ],
    ids=["DeepSeek", "OpenRouter and vLLM", "both", "in tags", "opened by the template"],
)
def test_thought_and_answer_come_out_alike_however_they_are_handed_over(message: dict[str, Any]):
    response = read_answer(body(**message)).response(TAGS)
    assert response == "<think>\nGreet.\n</think>\n\nHello"
    parts = split_response(response, TAGS)
    assert (parts.thought, parts.answer) == ("Greet.", "Hello")


def test_a_thought_that_was_cut_stays_open():
    response = read_answer(body("length", content=None, reasoning_content="Let me")).response(TAGS)
    assert response == "<think>\nLet me"
    assert not split_response(response, TAGS).closed


def test_a_model_that_did_not_think_has_an_empty_thought():
    parts = split_response(read_answer(body(content="Hello")).response(TAGS), TAGS)
    assert (parts.thought, parts.answer) == ("", "Hello")


def test_without_tags_thought_and_answer_are_one_response():
    assert ApiAnswer("Greet.", "Hello", "stop").response(None) == "Greet.\n\nHello"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (body("content_filter", content=None), "finish_reason content_filter"),
        (body("content_filter: PROHIBITED_CONTENT"), "PROHIBITED_CONTENT"),
        (body("SAFETY", content=""), "SAFETY"),
        (body("stop", content=None, refusal="I won't."), "refusal: I won't."),
        ({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}, "prompt blocked: SAFETY"),
    ],
)
def test_what_the_provider_withheld_is_blocked_with_its_reason(answer: dict[str, Any], reason: str):
    with pytest.raises(BlockedError, match=reason):
        read_answer(answer)


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": ["x"]}, {"choices": None}])
def test_a_body_without_a_choice_is_worth_another_try(answer: dict[str, Any]):
    with pytest.raises(UnusableAnswerError):
        read_answer(answer)


def test_a_generation_that_the_provider_broke_off_is_worth_another_try():
    with pytest.raises(InterruptedAnswerError):
        read_answer(body("insufficient_system_resource", content="Hel"))


@pytest.mark.parametrize("answer", [body("tool_calls", content="x"), body(content=""), body()])
def test_an_answer_without_a_text_is_a_row_error(answer: dict[str, Any]):
    with pytest.raises(RowError):
        read_answer(answer)


def test_tokens_are_the_providers():
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}}
    assert read_usage({"usage": usage}) == Usage(5, 9, 4)
    assert thought_tokens(Usage(5, 9, 4), "<think>\nx\n</think>\n\ny", TAGS) == 4
    assert read_usage({}) == Usage(0, 0, None)


def test_tokens_of_a_thought_that_no_one_counted_go_by_its_characters():
    response = "<think>\n" + "t" * 92 + "</think>" + "a" * 100
    assert thought_tokens(Usage(5, 50, None), response, TAGS) == 25
    assert thought_tokens(Usage(5, 50, None), "no thought", TAGS) == 0
    assert thought_tokens(Usage(5, 50, None), "<think>\nopen", TAGS) == 50
    assert thought_tokens(Usage(5, 50, None), "no tags", None) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
SHAPED = st.fixed_dictionaries(
    {
        "choices": JSON | st.lists(st.fixed_dictionaries({"message": JSON, "finish_reason": JSON}), max_size=2),
        "usage": JSON | st.fixed_dictionaries({"prompt_tokens": JSON, "completion_tokens": JSON}),
    }
)


@given(st.binary(max_size=60) | SHAPED.map(lambda value: json.dumps(value).encode()))
def test_no_body_ends_in_another_error(raw: bytes):
    try:
        answer = decode_body(raw)
        read_usage(answer)
        read_answer(answer)
    except (UnusableAnswerError, RowError):
        pass


def test_log_probabilities_are_read_by_token_and_none_are_made_up():
    top = [{"token": "A", "logprob": -0.1, "bytes": [65]}, {"token": " B", "logprob": -2}, {"token": "C"}]
    answer = body(content="A")
    answer["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]}
    assert read_logprobs(answer) == ({"A": -0.1, " B": -2.0},)
    for nothing in (None, {}, {"content": None}, {"content": "A"}):
        answer["choices"][0]["logprobs"] = nothing
        assert read_logprobs(answer) == ()
