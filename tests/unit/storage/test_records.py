"""JSON records: a value of their type, or one message with the file, the key and the fix."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from safechain_ray.errors import InputError
from safechain_ray.storage import InsideName, open_folder, read_record


class Record(BaseModel):
    steps: list[int]
    folder: InsideName = "a"


def read(folder: Path, data: bytes) -> Record:
    (folder / "record.json").write_bytes(data)
    return read_record(open_folder(str(folder)), "record.json", Record, "record of a test", "write it again.")


def test_a_record_is_read_as_its_type(tmp_path: Path) -> None:
    assert read(tmp_path, b'{"steps": [1, 2], "folder": "b/c"}') == Record(steps=[1, 2], folder="b/c")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"steps": [NaN]}',
        b'{"steps": [1e999]}',
        b'{"steps": [-Infinity]}',
        b'{"steps": [' + b"1" * 20 + b"]}",
        b'{"steps": [' + b"1" * 5000 + b"]}",
    ],
    ids=lambda data: data[:20],
)
def test_text_that_is_no_plain_json_is_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"record\.json is no valid JSON \(.+\)\. Fix: write it again\.$"):
        read(tmp_path, data)


def test_the_key_that_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"record\.json is no record of a test: steps\.1: must be a whole .*\. Fix"):
        read(tmp_path, b'{"steps": [1, "b"]}')
    with pytest.raises(InputError, match=r"test: folder: '\.\./b' is no name inside the folder.*\. Fix"):
        read(tmp_path, b'{"steps": [], "folder": "../b"}')
