"""Rows in batches: the same rows as from a file that is read whole, in any batch size and format."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.files import read_file
from safechain_ray.datasets.row_stream import RowStream
from safechain_ray.errors import InputError
from tests.unit.datasets.test_dataset_files import FORMATS, encoded

COLUMNS = frozenset({"prompt", "response"})
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
ROWS = st.lists(st.fixed_dictionaries({"prompt": TEXT, "response": TEXT, "other": TEXT}), min_size=1, max_size=9)


def rows_of(file: Path, batch_rows: int = 512) -> list[object]:
    return [row for _, rows in RowStream(adhoc_entry(str(file)), COLUMNS, batch_rows).batches() for row in rows]


@pytest.mark.parametrize("suffix", [*FORMATS, ".jsonl.gz"])
@given(rows=ROWS, batch_rows=st.integers(1, 5))
def test_batches_have_the_rows_of_the_whole_file(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[dict[str, str]], batch_rows: int
) -> None:
    file = tmp_path_factory.mktemp("rows") / f"rows{suffix}"
    file.write_bytes(encoded(rows, suffix))
    assert rows_of(file, batch_rows) == list(read_file(str(file), COLUMNS).rows)


def test_a_stream_can_be_read_twice(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "p", "response": "r"}\n' * 3)
    stream = RowStream(adhoc_entry(str(file)), COLUMNS, 2)
    assert list(stream.batches()) == list(stream.batches())


def test_a_json_list_named_jsonl_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps([{"prompt": "p", "response": "r"}]))
    assert rows_of(file) == [{"prompt": "p", "response": "r"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"prompt": "p"}\n{"prompt":\n', "a.jsonl is broken: line 2 is not JSON"),
        ("a.jsonl", b'{"prompt": "p"}\n{"prompt": "\xff"}\n', "line 2 is not UTF-8 text. Fix: save the file as UTF-8"),
        ("a.csv", b"prompt,response\np,r\np\n", "row 2 (ending at line 3) has 1 fields, the header has 2"),
        ("a.csv", b"prompt,response\np,\xff\n", "a.csv is not UTF-8 text. Fix: save the file as UTF-8"),
        ("a.parquet", b"PAR1", "it is no complete Parquet file"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path / name)
    assert message in str(caught.value)
