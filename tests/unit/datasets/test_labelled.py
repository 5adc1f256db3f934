"""Labelled responses: reading of labels, and refusals with the row."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.datasets.labelled import (
    FALSE_WORDS,
    SAFE_WORDS,
    TRUE_WORDS,
    UNSAFE_WORDS,
    Columns,
    folded,
    load_labelled,
    read_label,
)
from safechain_ray.errors import InputError

COLUMNS = Columns("prompt", "response", "label")
BLANKS = st.text(" \t\n", max_size=2)
UNSAFE, SAFE = UNSAFE_WORDS | TRUE_WORDS, SAFE_WORDS | FALSE_WORDS


@given(word=st.sampled_from(sorted(UNSAFE | SAFE)), before=BLANKS, after=BLANKS, upper=st.booleans())
def test_a_common_word_reads_alike_in_any_case_and_with_blanks_around_it(
    word: str, before: str, after: str, upper: bool
):
    assert read_label(before + (word.upper() if upper else word) + after) is (word in UNSAFE)


@given(st.text())
def test_no_other_text_is_guessed_at(text: str):
    known = folded(text) in UNSAFE | SAFE
    assert (read_label(text) is None) is not known


@given(st.text().filter(str.strip), st.text())
def test_with_labels_of_its_own_every_other_label_is_safe_and_only_an_empty_one_is_none(chosen: str, label: str):
    expected = folded(label) == folded(chosen) if label.strip() else None
    assert read_label(label, frozenset({folded(chosen)})) is expected


@pytest.mark.parametrize(("value", "unsafe"), [(True, True), (1, True), (1.0, True), (False, False), (0, False)])
def test_numbers_and_booleans_of_json_and_parquet_are_labels(value: object, unsafe: bool):
    assert read_label(value) is unsafe


def written(folder: Path, *rows: dict[str, Any], name: str = "labels.csv") -> str:
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def labelled(label: object = "1", prompt: object = "Q", response: object = "A") -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "label": label}


def test_rows_keep_their_order_number_and_text(tmp_path: Path):
    found = load_labelled(written(tmp_path, labelled("unsafe"), labelled("safe", response="No.")), COLUMNS)
    assert found.name == "labels"
    assert [(each.row, each.response, each.unsafe) for each in found.responses] == [(1, "A", True), (2, "No.", False)]


def test_the_fingerprint_changes_with_a_label(tmp_path: Path):
    one = load_labelled(written(tmp_path, labelled("1"), labelled("0")), COLUMNS)
    same = load_labelled(written(tmp_path, labelled("yes"), labelled("no"), name="b.csv"), COLUMNS)
    other = load_labelled(written(tmp_path, labelled("1"), labelled("1"), name="c.csv"), COLUMNS)
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_every_bad_row_is_named_with_its_value_and_the_fix(tmp_path: Path):
    bad = (labelled(), labelled("maybe"), labelled(""), labelled(response=" "), labelled(prompt=""))
    with pytest.raises(InputError) as refusal:
        load_labelled(written(tmp_path, *bad), COLUMNS)
    assert [line.strip() for line in str(refusal.value).splitlines()[1:5]] == [
        "row 2: the label 'maybe' says neither safe nor unsafe",
        "row 3: the label is empty",
        "row 4: the response is empty",
        "row 5: the prompt is empty",
    ]
    assert "labels.csv has 4 rows" in str(refusal.value)
    assert "--unsafe-label" in str(refusal.value)


def test_a_text_that_is_none_is_named_with_its_type(tmp_path: Path):
    with pytest.raises(InputError, match="row 1: the response is no text but a value of type int"):
        load_labelled(written(tmp_path, labelled(response=7), name="a.jsonl"), COLUMNS)


def test_labels_of_another_kind_are_named_by_the_user(tmp_path: Path):
    path = written(tmp_path, labelled("S4"), labelled("fine"), labelled("s5"))
    found = load_labelled(path, COLUMNS, ["s4", "S5"])
    assert [each.unsafe for each in found.responses] == [True, False, True]
    with pytest.raises(InputError, match=r"no row has the label S9 of --unsafe-label.*\. Fix: name one of these with"):
        load_labelled(path, COLUMNS, ["S9"])


def test_a_missing_column_offers_the_nearest(tmp_path: Path):
    with pytest.raises(InputError, match=r"no column 'labels'. Did you mean 'label'\?.*--label-column"):
        load_labelled(written(tmp_path, labelled()), Columns("prompt", "response", "labels"))


def shaped(folder: Path, column: str, *labels: object, name: str = "a.jsonl") -> tuple[str, Columns]:
    """A file with its labels in `column`."""
    rows = [{"prompt": f"Q{number}", "response": "A", column: label} for number, label in enumerate(labels)]
    return written(folder, *rows, name=name), Columns("prompt", "response", column)


@pytest.mark.parametrize(
    ("column", "unsafe"), [("is_safe", [False, True]), ("is_unsafe", [True, False]), ("label", [True, False])]
)
@pytest.mark.parametrize("labels", [(True, False), (1, 0), ("yes", "no"), (1.0, 0.0)])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_truths_are_read_by_the_name_of_their_column(
    tmp_path: Path, column: str, unsafe: list[bool], labels: tuple[object, ...], name: str
):
    found = load_labelled(*shaped(tmp_path, column, *labels, name=name))
    assert [each.unsafe for each in found.responses] == unsafe


def test_truths_in_a_column_that_decides_nothing_are_refused_until_one_is_named(tmp_path: Path):
    source, columns = shaped(tmp_path, "human_majority", True, False)
    with pytest.raises(InputError, match=r"'human_majority' holds true, false, .*Fix: .*--unsafe-label\."):
        load_labelled(source, columns)
    assert [each.unsafe for each in load_labelled(source, columns, ["True"]).responses] == [True, False]


def test_the_refusal_of_other_words_lists_what_this_column_is_read_by(tmp_path: Path):
    with pytest.raises(InputError, match=r"'is_safe' are read as unsafe \(0, false, .*or safe \(1, "):
        load_labelled(*shaped(tmp_path, "is_safe", True, "perhaps"))


def test_a_label_that_no_row_has_is_refused_with_those_there_are(tmp_path: Path):
    with pytest.raises(InputError, match=r"no row has the label 7 .*Labels in column 'label': unsafe, safe"):
        load_labelled(*shaped(tmp_path, "label", "unsafe", "safe"), ["7"])


def test_class_numbers_are_read_by_their_names(tmp_path: Path):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features(
        {"prompt": Value("string"), "response": Value("string"), "label": ClassLabel(2, ["unsafe", "safe"])}
    )
    rows = {"prompt": ["P", "Q"], "response": ["A", "B"], "label": [0, 1]}
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "a.parquet")
    for unsafe_labels in ((), ("unsafe",)):
        found = load_labelled(str(tmp_path / "a.parquet"), COLUMNS, unsafe_labels)
        assert [each.unsafe for each in found.responses] == [True, False]


CLASSES = {"features": [{"name": "label", "dtype": {"class_label": {"names": {"0": "unsafe", "1": "safe"}}}}]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("train.csv", f"prompt,response,label\nP,A,{zero}\nQ,B,{one}\n")
            for zero, one in [("0.0", "1.0"), (" 0", " 1")]
        ),
        *(
            ("train.jsonl", "".join(json.dumps(labelled(label)) + "\n" for label in (zero, 1.0)))
            for zero in (0.0, 0, " 0")
        ),
    ],
)
def test_class_numbers_of_a_folder_are_read_by_the_names_of_its_card(tmp_path: Path, name: str, text: str):
    (tmp_path / "README.md").write_text(f"---\n{json.dumps({'dataset_info': CLASSES})}\n---\n")
    (tmp_path / name).write_text(text)
    assert [each.unsafe for each in load_labelled(str(tmp_path), COLUMNS).responses] == [True, False]
    (tmp_path / name).write_text(text.replace("1.0", "7").replace(" 1", "7"))
    with pytest.raises(InputError, match=r"'label' holds '7', .*Fix: correct the value"):
        load_labelled(str(tmp_path), COLUMNS)


@pytest.mark.parametrize("labels", [[0.0, 1.0], ["0", "1"], [" 0", "1.0"]])
def test_class_numbers_of_parquet_are_named_whatever_their_type(tmp_path: Path, labels: list[object]):
    features = {"label": {"_type": "ClassLabel", "names": ["unsafe", "safe"]}}
    table = pa.table({"prompt": ["P", "Q"], "response": ["A", "B"], "label": labels})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    found = load_labelled(str(tmp_path / "a.parquet"), COLUMNS)
    assert [each.unsafe for each in found.responses] == [True, False]


def test_a_bad_text_is_one_problem_of_its_row(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "Q", "response": "half \\ud83d", "label": 1}\n')
    with pytest.raises(InputError, match=r"row 1: the response holds half of a surrogate pair"):
        load_labelled(str(path), COLUMNS)
