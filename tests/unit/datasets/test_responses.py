"""Rows of stored responses: which columns are read, and what a row that can't be read becomes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.datasets.responses import ResponseColumns, StoredResponse, find_columns, read_row
from safechain_ray.errors import InputError

PAIR = ResponseColumns("prompt", "response")
CHAT = ResponseColumns(messages="messages")


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["prompt", "response"], PAIR),
        (["Question", "Answer", "source"], ResponseColumns("Question", "Answer")),
        (["query", "generation", "prompt_id"], ResponseColumns("query", "generation")),
        (["prompt", "response", "reasoning_content"], ResponseColumns("prompt", "response", "reasoning_content")),
        (["messages", "source"], CHAT),
    ],
)
def test_common_names_are_found(columns: list[str], found: ResponseColumns) -> None:
    assert find_columns(columns, ResponseColumns(), "f.jsonl") == found


@pytest.mark.parametrize(
    ("columns", "given_columns", "message"),
    [
        (
            ["text", "reply"],
            ResponseColumns(),
            "no column of prompts and no column of responses. Its columns: text, reply. Fix: name each with "
            "--prompt-column and --response-column.",
        ),
        (["prompt", "output", "answer"], ResponseColumns(), "several columns that may hold the responses"),
        (["prompt", "response"], ResponseColumns(response="respons"), "no column 'respons'. Did you mean 'response'?"),
        (["prompt", "response"], ResponseColumns(label="gold"), "Fix: name the right one with --label-column."),
    ],
)
def test_a_missing_or_ambiguous_column_is_refused(
    columns: list[str], given_columns: ResponseColumns, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        find_columns(columns, given_columns, "f.jsonl")
    assert message in str(caught.value)


def test_a_row_may_have_a_list_of_responses_thoughts_and_labels() -> None:
    columns = ResponseColumns("prompt", "response", thought="thought", label="unsafe")
    row = {"prompt": "Hi", "response": ["a", "b"], "thought": ["x", None], "unsafe": [True, False]}
    assert read_row(row, columns, frozenset()).responses == (
        StoredResponse("a", "x", label="true", unsafe=True),
        StoredResponse("b", None, label="false", unsafe=False),
    )


def test_a_chat_has_its_thought_in_a_key_of_the_last_turn() -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello.", "reasoning_content": "They greet."},
    ]
    row = read_row({"messages": turns}, CHAT, frozenset())
    assert (row.prompt, row.responses) == ("Hi", (StoredResponse("Hello.", "They greet."),))


@pytest.mark.parametrize(
    ("row", "columns", "prompt_problem", "response_problem"),
    [
        ({"prompt": "", "response": "a"}, PAIR, "the prompt is empty", None),
        ({"prompt": "p", "response": 5}, PAIR, None, "the response is no text but a value of type int"),
        ({"prompt": "p"}, PAIR, None, "the response is empty"),
        ({"prompt": "p", "response": []}, PAIR, None, "the row has no response"),
        (
            {"prompt": "p", "response": ["a", "b"], "t": ["x"]},
            ResponseColumns("prompt", "response", "t"),
            None,
            "the row has 2 responses and 1 thoughts",
        ),
        ({"messages": [{"role": "user", "content": "Hi"}]}, CHAT, *["the conversation is not one user turn with"] * 2),
        ({"messages": "no JSON"}, CHAT, *["the conversation is no list of messages"] * 2),
    ],
)
def test_a_row_that_can_not_be_read_has_the_reason(
    row: dict[str, Any], columns: ResponseColumns, prompt_problem: str | None, response_problem: str | None
) -> None:
    found = read_row(row, columns, frozenset())
    assert (found.problem or "").startswith(prompt_problem or "")
    assert (found.problem is None) == (prompt_problem is None)
    assert all((each.problem or "").startswith(response_problem or "") for each in found.responses)


def test_a_thought_without_an_answer_is_a_response() -> None:
    columns = ResponseColumns("prompt", "response", "thought")
    (response,) = read_row({"prompt": "p", "response": "", "thought": "hm"}, columns, frozenset()).responses
    assert response == StoredResponse("", "hm")


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(["prompt", "response", "thought", "messages", "label"], ANY)))
def test_no_row_raises_and_each_row_has_a_response(row: dict[str, Any]) -> None:
    for columns in (ResponseColumns("prompt", "response", "thought", label="label"), CHAT):
        assert read_row(row, columns, frozenset()).responses
