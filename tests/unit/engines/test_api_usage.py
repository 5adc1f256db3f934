"""What a provider bills: counts in every form, reasoning beside the completion, and bills that can't be true."""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safechain_ray.engines.api_wire import Usage, read_usage, thought_tokens
from safechain_ray.types import ThinkingTags

TAGS = ThinkingTags("<think>", "</think>")
LARGEST = 2**31 - 1


def bill(prompt: Any, completion: Any, reasoning: Any = None, **more: Any) -> dict[str, Any]:
    details = {} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, **details, **more}}


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (bill(5, 9, 4), Usage(5, 9, 4)),
        (bill("5", "9"), Usage(5, 9)),
        (bill(5.0, 9.0), Usage(5, 9)),
        ({"usage": {"input_tokens": 5, "output_tokens": 9}}, Usage(5, 9)),
        ({"usage": {**bill(5, 9)["usage"], "reasoning_tokens": 4}}, Usage(5, 9, 4)),
        (bill(5, 9, 0), Usage(5, 9, 0)),
    ],
    ids=["OpenAI", "digits", "floats", "other names", "reasoning at the top", "no reasoning"],
)
def test_tokens_are_the_providers(body: dict[str, Any], usage: Usage):
    assert read_usage(body) == usage


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (bill(12, 1, 386, total_tokens=399), Usage(12, 387, 386)),
        (bill(20, 7, 3, total_tokens=30), Usage(20, 10, 3)),
        (bill(10, 7, 300), Usage(10, 307, 300)),
        (bill(10, 7, total_tokens=317), Usage(10, 307, 300)),
        (bill(10, 307, 300, total_tokens=317), Usage(10, 307, 300)),
        (bill(10, 100, 120, total_tokens=150), Usage(10, 140, 120)),
        (bill(10, 7, 300, total_tokens=0), Usage(10, 307, 300)),
    ],
    ids=[
        "xAI",
        "xAI with little reasoning",
        "no total",
        "Gemini without details",
        "among the completion",
        "in part",
        "a total of zero",
    ],
)
def test_reasoning_that_is_billed_beside_the_completion_is_output(body: dict[str, Any], usage: Usage):
    assert read_usage(body) == usage


@given(st.integers(1, 999), st.integers(1, 999), st.none() | st.integers(0, 999), st.integers(0, 999))
def test_with_a_total_the_output_is_what_it_has_beside_the_input(prompt: int, completion: int, apart: Any, more: int):
    assume(apart is None or apart <= completion + more)  # else the bill contradicts itself
    total = prompt + completion + more
    assert read_usage(bill(prompt, completion, apart, total_tokens=total)).output_tokens == total - prompt


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({}, Usage(None, None)),
        ({"usage": None}, Usage(None, None)),
        ({"usage": "12 tokens"}, Usage(None, None)),
        (bill(0, 0), Usage(None, None)),
        (bill(None, 9), Usage(None, 9)),
        (bill(5, None), Usage(5, None)),
        (bill(-5, True), Usage(None, None)),
        (bill("many", float("nan")), Usage(None, None)),
        (bill(float("inf"), [9]), Usage(None, None)),
        (bill(2**31, 2**40), Usage(None, None)),
        (bill(LARGEST, LARGEST, 2**40), Usage(LARGEST, LARGEST)),
    ],
)
def test_a_count_that_can_not_be_true_is_none(body: dict[str, Any], usage: Usage):
    assert read_usage(body) == usage


def test_no_tokens_are_a_count_where_there_is_no_text():
    assert read_usage(bill(0, 0), has_text=False) == Usage(0, 0)


def test_a_bill_is_filled_where_it_has_nothing():
    assert Usage(None, 9, 4).filled(Usage(1, 2)) == Usage(1, 9, 4)
    assert Usage(5, None).filled(Usage(1, 2)) == Usage(5, 2)


COUNTS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_every_count_fits_its_column(prompt: Any, completion: Any, reasoning: Any, total: Any):
    usage = read_usage(json.loads(json.dumps(bill(prompt, completion, reasoning, total_tokens=total))))
    for count in (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens):
        assert count is None or 0 <= count <= LARGEST


def test_tokens_of_a_thought_are_the_providers_else_go_by_its_characters():
    assert thought_tokens(9, 4, "<think>\nx\n</think>\n\ny", TAGS) == 4
    assert thought_tokens(50, None, "<think>" + "t" * 100 + "</think>" + "a" * 100, TAGS) == 25
    assert thought_tokens(50, None, "no thought", TAGS) == 0
    assert thought_tokens(50, None, "the tag <think> in prose", TAGS) == 0
    assert thought_tokens(50, None, "<think>\nopen", TAGS) == 50
    assert thought_tokens(50, None, "no tags", None) is None
