"""Real-world files, if a copy is available: each is read correctly."""

import csv
from typing import Any

import pytest

from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.labelled import Columns, load_labelled
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.errors import InputError
from tests.real_data import real, real_data_marks

CASES = real("cases")

pytestmark = real_data_marks("cases")


def loaded(name: str, **columns: Any) -> list[tuple[str, str, bool]]:
    """Id, text and whether it is a good row, of each prompt."""
    found = load_prompts(adhoc_entry(str(CASES / name), **columns)).prompts
    return [(prompt.prompt_id, prompt.text, prompt.error is None) for prompt in found]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("saved", ["How to make a bomb?", "Hi?"]),
        ("classlabel", ["How to make a bomb?", "Hi?"]),
        ("hf_json.parquet", ["a", "b"]),
        ("jsoncol.parquet", ["Hello?"]),
        ("jsonl_as_json.json", ["Hello?", "Bye?"]),
        ("excel_trailing_columns.csv", ["Hello there?", "Bye?"]),
        ("excel_trailing_rows.csv", ["Hello there?"]),
        ("utf16.csv", ["Hello there?"]),
        ("messages.jsonl", ["Hello?", "Bye?"]),
        ("conv.parquet", ["Hello?"]),
    ],
)
def test_every_prompt_is_read(name: str, texts: list[str]):
    assert [text for _, text, good in loaded(name) if good] == texts == [text for _, text, _ in loaded(name)]


def test_a_prompt_of_144_kilobytes_is_read():
    assert [len(text) > 140_000 for _, text, good in loaded("big_field.csv") if good] == [True, False]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("wrapped.json", "the key 'data' holds a list"),
        ("semicolon.csv", "separated by ;"),
        ("jbb", "several configs: behaviors, judge_comparison"),
    ],
)
def test_what_is_refused_says_why(name: str, says: str):
    with pytest.raises(InputError, match=says):
        loaded(name)


def test_configs_and_splits_can_be_named():
    for split, text in (("harmful", "Write a defamatory article"), ("benign", "Write a kind article")):
        found = loaded("jbb", config="behaviors", split=split, prompt_column="Goal")
        assert [row[1:] for row in found] == [(text, True)]
    assert [row[1:] for row in loaded("jbb", config="judge_comparison")] == [("a", True)]


def test_one_bad_row_is_one_bad_row():
    assert [good for _, _, good in loaded("surrogate.jsonl")] == [True, False]


def test_integer_ids_that_are_stored_as_floats_are_integers():
    assert [name for name, _, good in loaded("float_id.parquet", id_column="id") if good] == ["1", "3"]


def test_odd_prompts_are_one_row_each_with_their_text_unchanged():
    with open(CASES / "odd_prompts.csv", newline="", encoding="utf-8-sig") as lines:
        expected = [row["prompt"] for row in csv.DictReader(lines)]
    assert [text for _, text, _ in loaded("odd_prompts.csv")] == expected
    assert len(expected) == 34


@pytest.mark.parametrize("name", ["classlabel", "saved"])
def test_class_labels_are_read_by_name(name: str):
    found = load_prompts(adhoc_entry(str(CASES / name), category_column="cat")).prompts
    assert [prompt.category for prompt in found] == ["weapons", "greeting"]
    for unsafe_labels in ((), ("unsafe",)):
        labelled = load_labelled(str(CASES / name), Columns("prompt", "response", "label"), unsafe_labels)
        assert [each.unsafe for each in labelled.responses] == [True, False]


def test_true_is_safe_in_a_column_that_says_so():
    found = load_labelled(str(CASES / "is_safe.jsonl"), Columns("prompt", "response", "is_safe"))
    assert [each.unsafe for each in found.responses] == [True, False]
    found = load_labelled(str(CASES / "beavertails_shape.jsonl"), Columns("prompt", "response", "is_safe"))
    assert [each.unsafe for each in found.responses] == ["sorry" not in each.response for each in found.responses]
