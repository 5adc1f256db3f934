"""Decompression limits: files that expand too much are refused with a message and little memory."""

import gzip
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.columnar import parse_parquet, read_saved
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.datasets.records import BrokenFileError
from safechain_ray.datasets.unpacking import check_arrow, limit_of, unzipped
from safechain_ray.errors import InputError
from tests.deployment import ROOT

MIB = 2**20

WITH_LITTLE_MEMORY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (5 * 2**29, 5 * 2**29))
from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.errors import InputError
for path in sys.argv[1:]:
    try:
        load_prompts(adhoc_entry(path, prompt_column="prompt"), limit=5)
    except InputError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def repeated(characters: int, rows: int) -> pa.Array:
    """One text for all rows, as Parquet's dictionaries hold it."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * characters]))


def nested(characters: int, rows: int) -> pa.Array:
    return pa.ListArray.from_arrays([0, rows], repeated(characters, rows))


def parquet(folder: Path, column: pa.Array, *, stored_schema: bool = False) -> Path:
    path = folder / "bomb.parquet"
    pq.write_table(pa.table({"prompt": column}), path, compression="zstd", store_schema=stored_schema)
    return path


@pytest.mark.slow
def test_bombs_are_refused_with_little_memory(tmp_path: Path):
    zipped = tmp_path / "bomb.csv.gz"
    block = gzip.compress(b"a" * (16 * MIB) + b"\n")
    zipped.write_bytes(gzip.compress(b"prompt\n") + 100 * block)  # members follow one another
    columnar = parquet(tmp_path, repeated(MIB, 8192))
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, str(zipped), str(columnar)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    *refusals, peak = done.stdout.splitlines()
    assert zipped.stat().st_size < 2 * MIB
    assert columnar.stat().st_size < 1000
    assert [refusal.count("unpacks to more than 1 GiB, over 100 times its size") for refusal in refusals] == [1, 1]
    assert int(peak) < 2 * MIB  # KiB: 2 GiB


@pytest.mark.parametrize("stored_schema", [True, False])
@pytest.mark.parametrize("column", [repeated(MIB // 4, 64), nested(MIB // 4, 64), pa.nulls(10_000, pa.string())])
def test_a_parquet_file_is_weighed_by_its_values(
    tmp_path: Path, small_limit: None, column: pa.Array, stored_schema: bool
):
    path = parquet(tmp_path, column, stored_schema=stored_schema)
    for data in (path, path.read_bytes()):
        with pytest.raises(BrokenFileError, match="unpacks to more than"):
            check_arrow(data, ["prompt"], "parquet")
    with pytest.raises(InputError, match=r"bomb.parquet unpacks to more than .* Fix: unpack it yourself"):
        load_prompts(adhoc_entry(str(path), prompt_column="prompt"), limit=5)


def test_a_column_without_a_name_has_a_weight(tmp_path: Path, small_limit: None):
    pq.write_table(pa.table({"": repeated(MIB // 4, 64), "prompt": ["Why?"] * 64}), tmp_path / "set.parquet")
    for wanted in (None, ["", "prompt"]):
        with pytest.raises(BrokenFileError, match="unpacks to more than"):
            parse_parquet(tmp_path / "set.parquet", wanted)


def test_columns_that_are_not_read_have_no_weight(tmp_path: Path, small_limit: None):
    table = pa.table({"prompt": ["Why?"] * 64, "other": repeated(MIB, 64)})
    pq.write_table(table, tmp_path / "set.parquet")
    assert load_prompts(adhoc_entry(str(tmp_path / "set.parquet"), prompt_column="prompt"), limit=5).prompts


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_saved_folder_is_weighed_by_its_values(tmp_path: Path, small_limit: None, compression: str | None):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    table = pa.table({"prompt": repeated(MIB // 4, 64) if compression is None else pa.array(["a" * MIB] * 8)})
    with pa.ipc.new_stream(str(tmp_path / "data.arrow"), table.schema, options=options) as writer:
        writer.write_table(table)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(BrokenFileError, match="unpacks to more than"):
        read_saved(tmp_path, ["prompt"])


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_both_arrow_formats_are_weighed_before_the_library_reads_them(
    tmp_path: Path, small_limit: None, new: Callable[..., Any]
):
    def write(size: int) -> None:
        table = pa.table({"prompt": [f"{number} " + "a" * size for number in range(8)]})
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with new(str(tmp_path / "train.arrow"), table.schema, options=options) as writer:
            writer.write_table(table)

    entry = adhoc_entry(str(tmp_path), prompt_column="prompt")
    write(MIB // 16)
    assert len(load_prompts(entry, limit=5).prompts) == 5
    write(MIB)
    with pytest.raises(InputError, match=r"train.arrow of .* unpacks to more than"):
        load_prompts(entry, limit=5)


def test_values_that_can_not_be_weighed_are_refused(tmp_path: Path):
    (tmp_path / "train.arrow").write_bytes(b"no Arrow file")
    with pytest.raises(InputError, match=r"train.arrow of .* is broken: its values can't be read"):
        load_prompts(adhoc_entry(str(tmp_path), prompt_column="prompt"), limit=5)
    whole = tmp_path / "set.parquet"
    pq.write_table(pa.table({"prompt": ["Why?"] * 64}), whole, compression="zstd", write_statistics=False)
    data = bytearray(whole.read_bytes())
    data[4:40] = bytes(36)  # the first page; the footer is whole
    with pytest.raises(BrokenFileError, match="its values can't be read"):
        parse_parquet(bytes(data), ["prompt"])


def test_a_stream_with_wrong_offsets_is_refused(tmp_path: Path):
    offsets = pa.array([0, 1_000_000, 3], pa.int32()).buffers()[1]
    broken = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"abc"))
    with pa.ipc.new_stream(str(tmp_path / "data.arrow"), pa.schema({"prompt": pa.string()})) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([broken], ["prompt"]))
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(BrokenFileError, match="no complete folder"):
        read_saved(tmp_path, ["prompt"])


def test_short_rows_count_for_more_than_their_bytes(small_limit: None):
    assert unzipped(gzip.compress(b"x" * 20_000))
    for row in (b"x\n", b"{},", b"[],"):
        with pytest.raises(BrokenFileError, match="unpacks to more than"):
            unzipped(gzip.compress(row * 10_000))


def test_a_large_file_may_unpack_to_a_hundred_times_its_size():
    assert limit_of(2_000_000) == 2**30
    assert limit_of(2**30) == 100 * 2**30


def test_views_of_one_value_are_weighed_once_a_row(tmp_path: Path, small_limit: None):
    """A view takes sixteen bytes. Its value may take a gigabyte."""
    size = MIB // 4
    view = struct.pack("<i4sii", size, b"aaaa", 0, 0)  # length, beginning, buffer, place in it
    buffers = [None, pa.py_buffer(view * 64), pa.py_buffer(b"a" * size)]
    table = pa.table({"prompt": pa.Array.from_buffers(pa.string_view(), 64, buffers)})
    with pa.ipc.new_stream(str(tmp_path / "train.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert (tmp_path / "train.arrow").stat().st_size < 4 * MIB
    with pytest.raises(InputError, match=r"train.arrow of .* unpacks to more than"):
        load_prompts(adhoc_entry(str(tmp_path), prompt_column="prompt"), limit=5)
