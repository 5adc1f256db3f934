"""Compaction: many small files become few, and every row is there once after any crash."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from safechain_ray.errors import StorageError
from safechain_ray.runs import file_index
from safechain_ray.runs.file_index import compact, repair_and_index
from safechain_ray.storage import Folder, open_folder
from safechain_ray.types import SAMPLES_SCHEMA, samples_table
from tests.unit.runs.small_runs import sample


@pytest.fixture
def samples(tmp_path: Path) -> Folder:
    """37 files of 32 rows."""
    folder = open_folder(str(tmp_path / "samples"))
    for number in range(37):
        rows = [sample(f"{number}-{row}", "error" if row == 7 else "ok") for row in range(32)]
        folder.write_parquet(f"part-{number:02}.parquet", samples_table(rows))
    return folder


def ids(folder: Folder) -> Counter[str]:
    return Counter(
        row for name in folder.list_files(".parquet") for row in folder.read_parquet(name)["sample_id"].to_pylist()
    )


def test_small_files_become_one_with_the_same_rows_and_schema(samples: Folder):
    before = repair_and_index(samples, retry_errors=False).completed
    compact(samples)
    (name,) = samples.list_files(".parquet")
    assert samples.read_parquet(name).schema.equals(SAMPLES_SCHEMA)
    assert ids(samples) == Counter(list(before))
    assert len(before) == 37 * 32
    compact(samples)
    assert samples.list_files(".parquet") == [name]


def test_errors_are_still_dropped_to_be_done_again(samples: Folder):
    compact(samples)
    index = repair_and_index(samples, retry_errors=True)
    assert (index.retried_errors, len(index.completed)) == (37, 36 * 32 + 32 - 37)


def test_large_files_stay_and_groups_have_a_limit(samples: Folder, monkeypatch: pytest.MonkeyPatch):
    sizes = [file.size for file in samples.list_facts()]
    monkeypatch.setattr(file_index, "MERGED_BYTES", 10 * max(sizes))
    compact(samples)
    assert len(samples.list_files(".parquet")) == 4
    monkeypatch.setattr(file_index, "SMALL_BYTES", min(file.size for file in samples.list_facts()))
    names = samples.list_files(".parquet")
    compact(samples)
    assert samples.list_files(".parquet") == names


def test_repetitive_text_makes_files_that_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A response that loops is stored in a fortieth of its size: the size of files says little about memory."""
    monkeypatch.setattr(file_index, "MERGED_MEMORY", 2**20)
    folder = open_folder(str(tmp_path))
    for number in range(24):
        rows = [sample(f"{number}-{row}", response="Wait, is this right? " * 500) for row in range(32)]
        folder.write_parquet(f"part-{number:02}.parquet", samples_table(rows))
    before = ids(folder)
    assert sum(file.size for file in folder.list_facts()) < 2**19
    compact(folder)
    merged = [folder.read_parquet(name).nbytes for name in folder.list_files(".parquet")]
    assert 1 < len(merged) < 24
    assert max(merged) <= 2**20
    assert ids(folder) == before


@pytest.mark.parametrize("deletions", [0, 1, 20])
def test_a_crash_leaves_repeated_rows_that_the_next_attempt_drops(
    samples: Folder, monkeypatch: pytest.MonkeyPatch, deletions: int
):
    before, left = ids(samples), [deletions]
    delete = Folder.delete

    def crash(folder: Folder, name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageError("the driver was killed")
        delete(folder, name)

    monkeypatch.setattr(Folder, "delete", crash)
    with pytest.raises(StorageError):
        compact(samples)
    monkeypatch.setattr(Folder, "delete", delete)
    assert set(ids(samples)) == set(before)
    assert repair_and_index(samples, retry_errors=False).repeated == (37 - deletions) * 32
    assert ids(samples) == before


def test_files_of_an_earlier_version_with_other_types_are_merged(samples: Folder):
    table = samples.read_parquet("part-00.parquet")
    place = table.schema.get_field_index("category")
    older = table.set_column(place, "category", table["category"].cast(pa.large_string()))
    samples.write_parquet("part-00.parquet", older)
    compact(samples)
    assert len(samples.list_files(".parquet")) == 1
    assert sum(ids(samples).values()) == 37 * 32
