"""Training sets: every layout gives the same demonstrations, and no bad row is used or silently dropped."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.catalog import training_sets
from safechain_ray.catalog.row_entries import TrainingSetEntry
from safechain_ray.datasets.adhoc import adhoc_training_set, copy_of
from safechain_ray.datasets.layouts import split_thought
from safechain_ray.datasets.training_sets import load_training_set
from safechain_ray.errors import InputError
from safechain_ray.types import Demonstration
from tests.real_data import needs_real_data, real

SHARED = real("data")
THOUGHT, ANSWER = "They ask for help.\n\nI can give it.", "Sure: <b>here</b>."
RESPONSE = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"


def written(folder: Path, *rows: Mapping[str, Any], name: str = "set.jsonl") -> str:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def conversation(response: str = RESPONSE, **more: object) -> dict[str, Any]:
    turns = [{"role": "user", "content": "Help me?"}, {"role": "assistant", "content": response}]
    return {"messages": turns, **more}


def pair(response: object = RESPONSE, prompt: object = "Help me?") -> dict[str, Any]:
    return {"question": prompt, "reply": response}


def pairs(folder: Path, *rows: Mapping[str, Any], **more: bool) -> TrainingSetEntry:
    return adhoc_training_set(written(folder, *rows), prompt_column="question", response_column="reply", **more)


CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---
"""


@pytest.mark.parametrize("name", ["set.jsonl", "set.parquet"])
def test_the_projects_own_format_needs_no_column_named_and_keeps_what_else_a_row_says(tmp_path: Path, name: str):
    found = load_training_set(adhoc_training_set(written(tmp_path, conversation(kind="vanilla_benign"), name=name)))
    assert found.demonstrations == (Demonstration(1, "Help me?", THOUGHT, ANSWER, None, {"kind": "vanilla_benign"}),)
    assert (found.name, found.left_out) == ("set", {})


def test_a_folder_is_read_as_it_is_now_whatever_one_of_its_name_held_before(tmp_path: Path):
    def learnt(place: str, *answers: str) -> list[str]:
        folder = tmp_path / place / "set"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(CARD)
        rows = [conversation(f"<think>\n{THOUGHT}\n</think>\n\n{answer}") for answer in answers]
        written(folder / "data", *rows, name="train-00000-of-00001.parquet")
        return [each.answer for each in load_training_set(adhoc_training_set(str(folder))).demonstrations]

    assert learnt("first", "One.") == ["One."]
    assert learnt("second", "Two.", "Three.") == ["Two.", "Three."]
    assert learnt("first", "Four.") == ["Four."]


def test_every_layout_gives_the_same_demonstration(tmp_path: Path):
    apart = {"p": "Help me?", "t": THOUGHT, "a": ANSWER}
    columns = {"prompt_column": "p", "thought_column": "t", "answer_column": "a"}
    sets = [
        load_training_set(adhoc_training_set(written(tmp_path, conversation(), name="a.jsonl"))),
        load_training_set(pairs(tmp_path, pair())),
        load_training_set(pairs(tmp_path, pair(RESPONSE.removeprefix("<think>\n")))),
        load_training_set(adhoc_training_set(written(tmp_path, apart, name="b.jsonl"), **columns)),
    ]
    assert {(d.prompt, d.thought, d.answer) for each in sets for d in each.demonstrations} == {
        ("Help me?", THOUGHT, ANSWER)
    }
    assert len({each.fingerprint for each in sets}) == 1


def test_a_system_turn_is_kept(tmp_path: Path):
    row = conversation()
    row["messages"].insert(0, {"role": "system", "content": "Be brief."})
    assert load_training_set(adhoc_training_set(written(tmp_path, row))).demonstrations[0].system == "Be brief."


LINES = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"])).map(lambda text: text.strip("\n"))


@given(
    thought=LINES.filter(str.strip),
    answer=LINES.filter(str.strip),
    opened=st.booleans(),
    before=st.text(" \n", max_size=2),
)
def test_thought_and_answer_come_back_as_they_were_put_together(thought: str, answer: str, opened: bool, before: str):
    response = f"{before}{'<think>' if opened else ''}\n{thought}\n</think>\n\n{answer}"
    found = split_thought(response)
    assert found == (thought if opened else found[0], answer)
    assert found[0].strip() == thought.strip()


@given(st.text(st.sampled_from("a\n ")), st.lists(st.sampled_from(["<think>", "</think>", "a", "\n", " "]), max_size=6))
def test_a_split_response_never_holds_a_tag(text: str, pieces: list[str]):
    try:
        thought, answer = split_thought(text + "".join(pieces))
    except ValueError:
        return
    assert "think>" not in thought + answer
    assert answer.strip()


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        ("No.", "the response holds no thought: no </think>"),
        ("<think>\nHm", "the thought is never closed: no </think>"),
        ("<think>\nHm\n</think>\n\n", "the answer after </think> is empty"),
        ("<think>a</think>b</think>c", "the response holds <think> or </think> more than once, or out of place"),
        ("a <think>b</think>c", "the response holds <think> or </think> more than once, or out of place"),
        ("", "the response is empty"),
        (None, "the response is empty"),
        (7, "the response is no text but a value of type int"),
    ],
)
def test_a_bad_response_is_refused_with_its_row_or_left_out_and_counted(tmp_path: Path, response: object, problem: str):
    entry = pairs(tmp_path, pair(), pair(response), pair())
    with pytest.raises(InputError, match=r"set\.jsonl has 1 rows of 3 that can't be used for training") as refusal:
        load_training_set(entry)
    assert f"\n  row 2: {problem}\n" in str(refusal.value)
    assert "on_bad_row: skip" in str(refusal.value)
    found = load_training_set(entry, on_bad_row="skip")
    assert [each.row for each in found.demonstrations] == [1, 3]
    assert found.left_out == {problem: 1}


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ("Help me?", "the conversation is no list of messages"),
        ([{"role": "user"}], "the conversation holds a message without role and content"),
        ([{"role": "user", "content": "Q"}], "the conversation does not end with an assistant turn"),
        (
            [{"role": "user", "content": " "}, {"role": "assistant", "content": RESPONSE}],
            "the prompt is empty",
        ),
    ],
)
def test_a_bad_conversation_is_refused_with_its_row(tmp_path: Path, messages: object, problem: str):
    with pytest.raises(InputError, match=problem):
        load_training_set(adhoc_training_set(written(tmp_path, conversation(), {"messages": messages})))


def test_many_bad_rows_are_counted_and_five_are_shown(tmp_path: Path):
    with pytest.raises(InputError, match="has 7 rows of 8") as refusal:
        load_training_set(pairs(tmp_path, pair(), *[pair("No.")] * 7))
    assert str(refusal.value).count("\n  row ") == 5
    assert "and 2 more" in str(refusal.value)


def test_where_no_row_is_good_skipping_them_all_is_refused_too(tmp_path: Path):
    with pytest.raises(InputError, match=r"(?s)No row of .*has_thoughts: it is false for a set of answers"):
        load_training_set(pairs(tmp_path, pair("No.")), on_bad_row="skip")


def test_a_control_set_has_answers_alone_and_a_tag_in_one_is_an_error(tmp_path: Path):
    found = load_training_set(pairs(tmp_path, pair("No."), has_thoughts=False))
    assert [(each.thought, each.answer) for each in found.demonstrations] == [(None, "No.")]
    with pytest.raises(InputError, match=r"row 2: the response holds <think> or </think>, where no tag is expected"):
        load_training_set(pairs(tmp_path, pair("No."), pair(), has_thoughts=False))


def test_a_missing_column_offers_the_nearest_and_the_field_that_names_it(tmp_path: Path):
    entry = adhoc_training_set(written(tmp_path, pair()), prompt_column="question", response_column="replay")
    with pytest.raises(InputError, match=r"no column 'replay'. Did you mean 'reply'\?.*with response_column"):
        load_training_set(entry)
    with pytest.raises(InputError, match=r"no column 'messages'"):
        load_training_set(adhoc_training_set(written(tmp_path, pair())))


def test_columns_that_make_no_layout_are_refused_with_those_that_do(tmp_path: Path):
    with pytest.raises(InputError, match=r"columns named are prompt_column; name messages_column; or .*\. Fix: "):
        adhoc_training_set(written(tmp_path, pair()), prompt_column="question")


def test_another_number_of_rows_than_the_catalogs_is_refused(tmp_path: Path):
    row = {"id": "1", "question": "Help me?", "response": RESPONSE}
    with pytest.raises(InputError, match="has 1 rows, but data set 'star-1' has 1000"):
        load_training_set(copy_of(training_sets()["star-1"], written(tmp_path, row)))


def test_every_published_set_has_a_licence_and_a_number_of_rows():
    for entry in training_sets().values():
        assert entry.licence != "unknown"
        assert entry.rows is not None


@needs_real_data("data/star1.json")
def test_all_of_star_1_is_read_and_nothing_of_it_is_lost():
    found = load_training_set(copy_of(training_sets()["star-1"], str(SHARED / "star1.json")))
    rows = json.loads((SHARED / "star1.json").read_text(encoding="utf-8"))
    assert [(d.prompt, f"<think>\n{d.thought}\n</think>\n\n{d.answer}") for d in found.demonstrations] == [
        (row["question"], row["response"]) for row in rows
    ]
    assert found.demonstrations[0].provenance.keys() == {"id", "category", "source", "score"}
