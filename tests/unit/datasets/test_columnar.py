"""Parquet of many writers and folders of `save_to_disk`: equal prompts, and class names for class numbers."""

import json
import os
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.columnar import class_names, with_class_names
from safechain_ray.datasets.files import read_file
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.datasets.records import BrokenFileError
from safechain_ray.errors import InputError

PROMPTS = ["How tall?", "À la carte?"]


def stored(folder: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return str(folder / "a.parquet")


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int8(), pa.binary()),
    ],
    ids=str,
)
def test_a_text_is_read_whatever_its_arrow_type(tmp_path: Path, kind: pa.DataType):
    column = pa.array(PROMPTS).cast(pa.binary()) if "binary" in str(kind) else pa.array(PROMPTS)
    column = column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column.cast(kind)
    assert [prompt.text for prompt in load_prompts(adhoc_entry(stored(tmp_path, prompt=column))).prompts] == PROMPTS


@pytest.mark.parametrize("kind", [pa.binary(), pa.string()], ids=str)
def test_bytes_that_are_no_text_make_one_bad_row(tmp_path: Path, kind: pa.DataType):
    raw = pa.array([b"fine?", b"caf\xe9?"], pa.binary())
    column = pa.Array.from_buffers(kind, 2, raw.buffers())
    found = load_prompts(adhoc_entry(stored(tmp_path, prompt=column))).prompts
    assert [prompt.text for prompt in found] == ["fine?", "caf\ufffd?"]
    assert "the prompt holds bytes that are not UTF-8 text (row 2 of" in (found[1].error or "")


ODD_COLUMNS = {
    "json": pa.array(['{"a": 1}', "[]"]).cast(pa.json_()),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID(int=1).bytes, UUID(int=2).bytes], pa.binary(16))),
    "bool8": pa.array([1, 0], pa.int8()).cast(pa.bool8()),
    "struct": pa.array([{"a": {"b": [1]}}, None]),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "null": pa.nulls(2),
    "decimal": pa.array([1, 2]).cast(pa.decimal128(21, 2)),
    "duration": pa.array([1, 2], pa.duration("ns")),
}


@pytest.mark.parametrize("name", ODD_COLUMNS)
def test_a_column_that_nobody_asked_for_may_have_any_type(tmp_path: Path, name: str):
    path = stored(tmp_path, prompt=pa.array(PROMPTS), other=ODD_COLUMNS[name])
    assert [prompt.text for prompt in load_prompts(adhoc_entry(path)).prompts] == PROMPTS
    assert len(read_file(path).rows) == 2


def test_arrows_own_types_are_ids_and_categories_as_text(tmp_path: Path):
    path = stored(tmp_path, prompt=pa.array(PROMPTS), id=ODD_COLUMNS["uuid"], kind=ODD_COLUMNS["json"])
    found = load_prompts(adhoc_entry(path, id_column="id", category_column="kind")).prompts
    assert [prompt.prompt_id for prompt in found] == [str(UUID(int=1)), str(UUID(int=2))]
    assert [prompt.category for prompt in found] == ['{"a": 1}', "[]"]


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (pa.array([1.0, 3.0]), ["1", "3"]),
        (pa.array([1.0, 3.0], pa.float32()), ["1", "3"]),
        (pa.array([date(2024, 1, 2), date(2024, 1, 3)]), ["2024-01-02", "2024-01-03"]),
        (pa.array([2**60, 2**60 + 1]), [str(2**60), str(2**60 + 1)]),
    ],
)
def test_ids_of_other_types_are_texts(tmp_path: Path, ids: pa.Array, shown: list[str]):
    path = stored(tmp_path, prompt=pa.array(PROMPTS), id=ids)
    assert [prompt.prompt_id for prompt in load_prompts(adhoc_entry(path, id_column="id")).prompts] == shown


def test_a_missing_id_among_floats_is_a_bad_row(tmp_path: Path):
    path = stored(tmp_path, prompt=pa.array(["a", "b", "c"]), id=pa.array([1.0, None, 3.0]))
    found = load_prompts(adhoc_entry(path, id_column="id")).prompts
    assert [prompt.prompt_id for prompt in found] == ["1", "row-2", "3"]
    assert [prompt.error is None for prompt in found] == [True, False, True]


def test_two_columns_of_one_name_are_refused_where_they_are_asked_for(tmp_path: Path):
    table = pa.Table.from_arrays([pa.array(PROMPTS)] * 3, ["prompt", "other", "other"])
    pq.write_table(table, tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    assert len(load_prompts(adhoc_entry(path)).prompts) == 2
    with pytest.raises(InputError, match=r"two columns have the same name \(other\)"):
        load_prompts(adhoc_entry(path, category_column="other"))


FEATURES = {
    "prompt": {"_type": "Value", "dtype": "string"},
    "kind": {"_type": "ClassLabel", "names": ["weapons", "greeting"]},
    "kinds": {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["a", "b"]}},
    "old": [{"_type": "ClassLabel", "names": ["c"]}],
}


def test_class_numbers_become_names_and_no_label_is_none():
    names = class_names(FEATURES)
    assert names == {"kind": ("weapons", "greeting"), "kinds": ("a", "b"), "old": ("c",)}
    rows = [{"kind": 1, "kinds": [0, 1]}, {"kind": -1}, {"kind": None}, {"kind": "0"}, {"kind": "weapons"}]
    assert with_class_names(rows, names) == [
        {"kind": "greeting", "kinds": ["a", "b"]},
        {"kind": None},
        {"kind": None},
        {"kind": "weapons"},
        {"kind": "weapons"},
    ]


UNSAFE_FIRST = {"label": ("unsafe", "safe")}


@pytest.mark.parametrize("zero", [0, 0.0, "0", "0.0", "0.", " 0", "0 ", "00", "+0", Decimal("0"), "unsafe", " unsafe"])
def test_class_numbers_are_named_in_any_form(zero: object):
    assert with_class_names([{"label": zero}], UNSAFE_FIRST) == [{"label": "unsafe"}]


@pytest.mark.parametrize("missing", [-1, -1.0, "-1", " -1.0", None, float("nan"), "", " "])
def test_a_missing_class_is_none(missing: object):
    assert with_class_names([{"label": missing}], UNSAFE_FIRST) == [{"label": None}]


@pytest.mark.parametrize("other", [2, 7.0, -2, 0.5, "0.5", "2", "maybe", True, float("inf"), "9" * 5000, {"a": 1}])
def test_what_is_no_class_is_refused(other: object):
    with pytest.raises(BrokenFileError, match=r"column 'label' holds .* nor a class name \(unsafe, safe\)\. Fix: "):
        with_class_names([{"label": other}], UNSAFE_FIRST)


def test_names_that_look_like_numbers_are_names():
    names = {"label": ("1", "0")}
    assert with_class_names([{"label": "1"}, {"label": "1.0"}, {"label": 1.0}], names) == [
        {"label": "1"},
        {"label": "1"},
        {"label": "0"},
    ]


@pytest.mark.parametrize("metadata", [b"no JSON", b"[]", b'{"info": {}}', b'{"info": {"features": [1]}}'])
def test_metadata_without_features_changes_nothing(tmp_path: Path, metadata: bytes):
    table = pa.table({"prompt": PROMPTS, "kind": [0, 1]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    found = load_prompts(adhoc_entry(str(tmp_path / "a.parquet"), category_column="kind")).prompts
    assert [prompt.category for prompt in found] == ["0", "1"]


@pytest.fixture
def labelled_set() -> Any:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"prompt": Value("string"), "kind": ClassLabel(names=["weapons", "greeting"])})
    return Dataset.from_dict({"prompt": PROMPTS, "kind": [0, 1]}, features)


@pytest.mark.parametrize("form", ["parquet", "folder", "saved", "saved in shards", "saved splits", "saved split alone"])
def test_categories_are_class_names_in_every_form(tmp_path: Path, labelled_set: Any, form: str):
    from datasets import DatasetDict

    path = tmp_path / "set"
    match form:
        case "parquet":
            labelled_set.to_parquet(path.with_suffix(".parquet"))
            path = path.with_suffix(".parquet")
        case "folder":
            labelled_set.to_parquet(path / "data" / "test-00000-of-00001.parquet")
        case "saved":
            labelled_set.save_to_disk(path)
        case "saved in shards":
            labelled_set.save_to_disk(path, num_shards=2)
        case _:
            DatasetDict({"test": labelled_set}).save_to_disk(path)
            path = path / "test" if form == "saved split alone" else path
    found = load_prompts(adhoc_entry(str(path), category_column="kind")).prompts
    assert [(prompt.text, prompt.category) for prompt in found] == list(
        zip(PROMPTS, ["weapons", "greeting"], strict=True)
    )


def test_of_saved_splits_one_is_named(tmp_path: Path, labelled_set: Any):
    from datasets import DatasetDict

    DatasetDict({"harmful": labelled_set, "benign": labelled_set.select([1])}).save_to_disk(tmp_path / "set")
    with pytest.raises(InputError, match=r"several splits: harmful, benign. Fix: name one with --split"):
        load_prompts(adhoc_entry(str(tmp_path / "set")))
    found = load_prompts(adhoc_entry(str(tmp_path / "set"), split="benign"))
    assert [prompt.text for prompt in found.prompts] == PROMPTS[1:]
    with pytest.raises(InputError, match="no split 'test', only harmful, benign"):
        load_prompts(adhoc_entry(str(tmp_path / "set"), split="test"))
    labelled_set.save_to_disk(tmp_path / "one")
    with pytest.raises(InputError, match="was saved as one split"):
        load_prompts(adhoc_entry(str(tmp_path / "one"), split="benign"))
    assert len(load_prompts(adhoc_entry(str(tmp_path / "one"), split="train")).prompts) == len(PROMPTS)


def test_a_saved_folder_that_names_its_split_gives_no_other_one(tmp_path: Path, labelled_set: Any):
    from datasets import DatasetDict

    DatasetDict({"test": labelled_set}).save_to_disk(tmp_path / "set")
    path = tmp_path / "set" / "test"
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "_split": "test"}))
    assert len(load_prompts(adhoc_entry(str(path), split="test")).prompts) == len(PROMPTS)
    with pytest.raises(InputError, match=r"was saved as one split, 'test', and --split .* 'train' of it\. Fix: omit"):
        load_prompts(adhoc_entry(str(path), split="train"))


def test_a_saved_folder_that_lost_a_file_is_refused(tmp_path: Path, labelled_set: Any):
    labelled_set.save_to_disk(tmp_path / "set")
    for file in (tmp_path / "set").glob("*.arrow"):
        file.unlink()
    with pytest.raises(InputError, match=r"set is broken: it is no complete folder of Dataset\.save_to_disk"):
        load_prompts(adhoc_entry(str(tmp_path / "set")))
    (tmp_path / "set" / "state.json").write_text(json.dumps([]))
    with pytest.raises(InputError, match=r"its state\.json is no JSON object"):
        load_prompts(adhoc_entry(str(tmp_path / "set")))


@pytest.mark.parametrize(
    "features", ["5", "[1]", '"x"', '{"prompt": 5}', '{"prompt": {"names": 5, "_type": "ClassLabel"}}']
)
def test_a_saved_folder_of_damaged_features_is_one_sentence(tmp_path: Path, labelled_set: Any, features: str):
    labelled_set.save_to_disk(tmp_path / "set")
    (tmp_path / "set" / "dataset_info.json").write_text(f'{{"features": {features}}}')
    with suppress(InputError):
        load_prompts(adhoc_entry(str(tmp_path / "set")))


def test_a_pipe_in_a_saved_folder_is_refused_and_does_not_hang(tmp_path: Path, labelled_set: Any):
    labelled_set.save_to_disk(tmp_path / "set")
    (file,) = (tmp_path / "set").glob("*.arrow")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(InputError, match=r"set is broken: its .*\.arrow is not a file"):
        load_prompts(adhoc_entry(str(tmp_path / "set")))


def test_splits_of_a_folder_lie_in_it(tmp_path: Path, labelled_set: Any):
    labelled_set.save_to_disk(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    for splits in (["../elsewhere"], [str(tmp_path / "elsewhere")], 3, None):
        (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        with pytest.raises(InputError, match=r"set is broken: (in )?its dataset_dict\.json"):
            load_prompts(adhoc_entry(str(tmp_path / "set")))
