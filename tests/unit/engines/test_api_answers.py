"""Chat completions as providers write them: where the thought stands, what was withheld, what is no answer at all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.decoding.base import ResponseParts, split_response
from safechain_ray.engines.api_answers import (
    ApiAnswer,
    FailedChoiceError,
    InterruptedAnswerError,
    UnusableAnswerError,
    decode_body,
    read_answer,
    read_logprobs,
    texts,
)
from safechain_ray.engines.api_wire import read_usage
from safechain_ray.errors import BlockedError, RowError
from safechain_ray.types import ZERO_WIDTH_SPACE, ThinkingTags

TAGS = ThinkingTags("<think>", "</think>")


def body(finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": finish_reason, "message": {"role": "assistant", **message}}]}


def test_a_finish_reason_is_quoted_whole_or_not_at_all():
    with pytest.raises(RowError, match="'eos_reached'"):
        read_answer(body("eos_reached", content="x"))
    with pytest.raises(RowError, match="'a finish_reason of 104 characters'"):
        read_answer(body("x" * 90 + "sk-CanaryOfAKe", content="x"))


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hello", "reasoning_content": "Greet."},
        {"content": "Hello", "reasoning": "Greet."},
        {"content": "Hello", "reasoning": "Greet.", "reasoning_content": None},
        {"content": "Hello", "thinking": "Greet."},
        {"content": "Hello", "reasoning_details": [{"type": "reasoning.text", "text": "Greet."}]},
        {"content": "Hello", "reasoning_details": [{"type": "reasoning.summary", "summary": "Greet."}]},
        {"content": "Hello", "reasoning": {"content": "Greet."}},
        {"content": [{"type": "thinking", "thinking": "Greet."}, {"type": "text", "text": "Hello"}]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Gre"}, {"type": "text", "text": "et."}]},
                {"type": "text", "text": "Hel"},
                {"type": "text", "text": "lo"},
            ]
        },
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Greet."}]}, "Hello"]},
        {"content": "<think>\nGreet.\n</think>\n\nHello"},
        {"content": "Greet.\n</think>\n\nHello"},
        {"content": "<think>\nGreet.\n</think>\n\nHello", "reasoning_content": "Greet."},
        {"content": "Greet.\n</think>\n\nHello", "reasoning_content": "Greet."},
        {"content": "</think>\n\nHello", "reasoning_content": "<think>\nGreet.\n"},
        {"content": "Hello", "reasoning_content": "<think>\nGreet.\n</think>"},
    ],
    ids=[
        "DeepSeek",
        "OpenRouter and vLLM",
        "both",
        "Ollama",
        "details",
        "summaries",
        "an object",
        "parts, the thought a text",
        "parts, as Mistral's",
        "parts, one a bare text",
        "in tags",
        "opened by the template",
        "apart and repeated in tags",
        "apart and repeated behind an opening template",
        "apart, the closing tag left in the content",
        "apart, with tags",
    ],
)
def test_thought_and_answer_come_out_alike_however_they_are_handed_over(message: dict[str, Any]):
    response = read_answer(body(**message)).response(TAGS)
    assert response == "<think>\nGreet.\n</think>\n\nHello"
    parts = split_response(response, TAGS)
    assert (parts.thought, parts.answer) == ("Greet.", "Hello")


def test_a_thought_of_the_content_that_is_another_than_the_reasoning_follows_it():
    message = {"content": "<think>\nSmile.\n</think>\n\nHello", "reasoning_content": "Greet."}
    parts = split_response(read_answer(body(**message)).response(TAGS), TAGS)
    assert (parts.thought, parts.answer) == ("Greet.\n\nSmile.", "Hello")


@pytest.mark.parametrize(
    ("reasoning", "content", "thought", "answer"),
    [
        ("The user asks about </think> in XML. I refuse.", "Sorry.", None, "Sorry."),
        ("I know </think>\n and <think>.", "Sorry.", None, "Sorry."),
        ("</think>\nI refuse.", "Sorry.", None, "Sorry."),
        ("I refuse.", "The tag </think> is XML.", "I refuse.", None),
        ("I refuse.", "Tags <think> and </think> are XML.", "I refuse.", None),
        ("Use </think>.", "<think>\nUse </think>.", None, "."),
    ],
)
def test_tags_that_reasoning_apart_names_divide_nothing(
    reasoning: str, content: str, thought: str | None, answer: str | None
):
    response = read_answer(body(content=content, reasoning=reasoning)).response(TAGS)
    assert (response.count(TAGS.open), response.count(TAGS.close)) == (1, 1)
    parts = split_response(response, TAGS)
    assert (parts.thought or "").replace(ZERO_WIDTH_SPACE, "") == (thought or reasoning)
    assert (parts.answer or "").replace(ZERO_WIDTH_SPACE, "") == (answer or content)


TAGGED = st.lists(st.sampled_from(["<think>", "</think>", "\n", " ", "a", "b."]), max_size=8).map("".join)


@given(TAGGED, TAGGED)
def test_reasoning_apart_is_in_the_thought_whatever_tags_it_names(reasoning: str, content: str):
    response = ApiAnswer(f"x{reasoning}y", content, "stop").response(TAGS)
    thought = (split_response(response, TAGS).thought or "").replace(ZERO_WIDTH_SPACE, "")
    assert thought.startswith(f"x{reasoning}y")
    assert response.count(TAGS.close) <= 1


def test_a_thought_apart_that_was_cut_stays_open_where_it_names_the_closing_tag():
    response = read_answer(body("length", content=None, reasoning="It asks about </think> and")).response(TAGS)
    parts = split_response(response, TAGS)
    assert (parts.closed, parts.answer) == (False, "")


def test_reasoning_that_the_provider_encrypts_is_no_thought():
    details = [{"type": "reasoning.encrypted", "data": "gAAAA"}]
    assert read_answer(body(content="Hello", reasoning_details=details)) == ApiAnswer(None, "Hello", "stop")


def test_a_refusal_in_a_list_of_parts_blocks():
    with pytest.raises(BlockedError, match="refusal: I won't"):
        read_answer(body(content=[{"type": "refusal", "refusal": "I won't."}]))


def test_a_cut_text_without_tags_is_a_thought_where_the_template_opens_thoughts():
    answer = read_answer(body("length", content="Okay, step one"))
    assert split_response(answer.response(TAGS, opens_thought=True), TAGS) == ResponseParts("Okay, step one", "", False)
    assert split_response(answer.response(TAGS), TAGS) == ResponseParts("", "Okay, step one", True)


def test_tags_that_an_answer_names_in_prose_divide_nothing():
    prose = "The tag <think> opens a thought in XML, and </think> closes it."
    assert read_answer(body(content=prose)).response(TAGS) == prose


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
        (body("guardrail_intervened", content="x"), "guardrail_intervened"),
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


@pytest.mark.parametrize("reason", ["eos", "eos_token", "stop_sequence", "end_turn", "COMPLETE", "STOP"])
def test_an_end_has_many_names(reason: str):
    assert read_answer(body(reason, content="Hello")).finish_reason == "stop"


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "model_length", "model_context_window_exceeded"])
def test_a_cut_has_many_names(reason: str):
    assert read_answer(body(reason, content="Hel")).finish_reason == "length"


def test_a_generation_that_the_provider_broke_off_is_worth_another_try():
    with pytest.raises(InterruptedAnswerError):
        read_answer(body("insufficient_system_resource", content="Hel"))
    for reason in ("error", "network_error", "abort"):
        with pytest.raises(UnusableAnswerError, match=reason):
            read_answer(body(reason, content="Hel"))


def test_an_error_in_the_place_of_an_answer_is_handed_on():
    answer = body("error", content="")
    answer["choices"][0]["error"] = {"code": 502, "message": "upstream timeout"}
    with pytest.raises(FailedChoiceError) as failed:
        read_answer(answer)
    assert failed.value.error == {"code": 502, "message": "upstream timeout"}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb'"half a pair: \ud83d"', "half a pair: \ufffd"),
        (rb'"the other half \uDE00."', "the other half \ufffd."),
        (rb'"whole: \ud83d\ude00"', "whole: \U0001f600"),
        (b'"as bytes: \xed\xa0\xbd"', "as bytes: \ufffd"),
    ],
)
def test_half_of_a_surrogate_pair_becomes_the_replacement_character(raw: bytes, text: str):
    decoded = decode_body(b'{"choices": [{"message": {"content": ' + raw + b"}}]}")
    assert read_answer(decoded).content == text
    text.encode()


@pytest.mark.parametrize("answer", [body("tool_calls", content="x"), body(content=""), body()])
def test_an_answer_without_a_text_is_a_row_error(answer: dict[str, Any]):
    with pytest.raises(RowError):
        read_answer(answer)


KEYS = st.text(max_size=8) | st.sampled_from(["type", "text", "thinking", "reasoning", "summary", "error"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)
MESSAGES = st.dictionaries(st.sampled_from(["content", "reasoning", "reasoning_details", "refusal"]), JSON)
SHAPED = st.fixed_dictionaries(
    {
        "choices": JSON
        | st.lists(
            st.fixed_dictionaries({"message": JSON | MESSAGES, "finish_reason": JSON | st.just("stop")}), max_size=2
        ),
        "usage": JSON | st.fixed_dictionaries({"prompt_tokens": JSON, "completion_tokens": JSON}),
    }
)


@given(st.binary(max_size=60) | SHAPED.map(lambda value: json.dumps(value).encode()))
def test_no_body_ends_in_another_error(raw: bytes):
    try:
        answer = decode_body(raw)
        read_usage(answer)
        "".join(texts(answer)).encode()
        read_answer(answer).response(TAGS).encode()
    except (UnusableAnswerError, RowError):
        pass


def test_log_probabilities_are_read_by_token_and_none_are_made_up():
    top = [{"token": "A", "logprob": -0.1, "bytes": [65]}, {"token": " B", "logprob": -2}, {"token": "C"}]
    answer = body(content="A")
    answer["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]}
    assert read_logprobs(answer, 0, 1, 20) == ({"A": -0.1, " B": -2.0},)
    assert read_logprobs(answer, 0, 1, 1) == ({"A": -0.1},), "no more than were requested"
    assert read_logprobs(answer, 0, 0, 20) == ()
    for nothing in (None, {}, {"content": None}, {"content": "A"}):
        answer["choices"][0]["logprobs"] = nothing
        assert read_logprobs(answer, 0, 1, 20) == ()
