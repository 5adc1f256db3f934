"""A run's folder stays in order: every sample once, torn files set aside, nothing finished is lost by a crash."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from safechain_ray.cluster.workers.writer import block_counts
from safechain_ray.runs.file_index import repair_and_index, report_repairs
from safechain_ray.storage import Folder, open_folder
from safechain_ray.types import Outcome, samples_table
from tests.unit.runs.small_runs import sample

File = dict[str, Outcome]
"""The samples of a file by id."""


def write(folder: Folder, name: str, file: File) -> None:
    rows = [sample(sample_id, outcome) for sample_id, outcome in file.items()]
    folder.write_parquet(f"{name}.parquet", samples_table(rows))


def rows(folder: Folder) -> list[dict[str, Any]]:
    """Every row in the folder, with the file that holds it."""
    names = folder.list_files(".parquet")
    return [{"file": name, **row} for name in names for row in folder.read_parquet(name).to_pylist()]


@pytest.fixture
def samples(tmp_path: Path) -> Folder:
    return open_folder(str(tmp_path / "run" / "samples"))


def test_a_folder_that_is_not_there_holds_nothing(samples: Folder):
    assert repair_and_index(samples, retry_errors=True).completed == {}


def test_what_is_in_order_is_left_as_it_is(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "truncated"})
    write(samples, "b", {"three": "blocked", "four": "error"})
    index = repair_and_index(samples, retry_errors=False)
    assert index.completed == {"one": "a.parquet", "two": "a.parquet", "three": "b.parquet", "four": "b.parquet"}
    assert (index.repeated, index.retried_errors, index.broken_files) == (0, 0, ())
    assert samples.list_files() == ["a.parquet", "b.parquet"]


def test_errors_are_dropped_to_be_done_again_only_when_asked(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "error"})
    write(samples, "b", {"three": "error"})
    index = repair_and_index(samples, retry_errors=True)
    assert set(index.completed) == {"one"}
    assert index.retried_errors == 2
    assert [(row["sample_id"], row["file"]) for row in rows(samples)] == list(index.completed.items())
    assert len(samples.list_files()) == 1


def test_what_is_finished_is_counted_without_the_rows_that_were_dropped(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "error"})
    write(samples, "b", {"two": "blocked", "three": "truncated"})
    write(samples, "c", {"three": "truncated", "four": "error"})
    write(samples, "d", {"five": "ok"})
    index = repair_and_index(samples, retry_errors=True, counts=block_counts)
    counted = {name: index.counts[name] for name in ("rows", "ok", "truncated", "blocked", "error")}
    assert counted == {"rows": 4, "ok": 2, "truncated": 1, "blocked": 1, "error": 0}
    assert index.counts["rows"] == len(index.completed)
    assert not repair_and_index(samples, retry_errors=True).counts


@pytest.mark.parametrize(("error_file", "finished_file"), [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("retry_errors", [True, False])
def test_of_two_rows_of_a_sample_the_error_goes(
    samples: Folder, error_file: str, finished_file: str, retry_errors: bool
):
    write(samples, error_file, {"one": "error"})
    write(samples, finished_file, {"one": "ok"})
    index = repair_and_index(samples, retry_errors=retry_errors)
    assert [row["outcome"] for row in rows(samples)] == ["ok"]
    assert (index.completed, index.repeated) == ({"one": f"{finished_file}.parquet"}, 1)


OUTCOMES: list[Outcome] = ["ok", "truncated", "error"]
files = st.lists(
    st.dictionaries(st.sampled_from(["s1", "s2", "s3", "s4", "s5"]), st.sampled_from(OUTCOMES), min_size=1),
    max_size=4,
)


class CrashError(Exception):
    """The driver was killed."""


class MortalFolder(Folder):
    """A folder whose driver dies before its write or delete number `steps`, counted from 0."""

    @classmethod
    def of(cls, folder: Folder, steps: int) -> "MortalFolder":
        mortal = cls(folder.filesystem, folder.path, folder.uri)
        object.__setattr__(mortal, "steps", iter(range(steps)))
        return mortal

    def write_bytes(self, name: str, data: bytes | memoryview) -> None:
        self._step()
        super().write_bytes(name, data)

    def delete(self, name: str) -> None:
        self._step()
        super().delete(name)

    def _step(self) -> None:
        if next(self.steps, None) is None:
            raise CrashError


@given(files, st.booleans(), st.lists(st.integers(0, 5), max_size=2))
def test_every_sample_stands_once_and_no_finished_one_is_lost_over_crashes(
    files: list[File], retry_errors: bool, crashes: list[int]
):
    memory = fs._MockFileSystem()
    memory.create_dir("samples")
    folder = Folder(memory, "samples", "mock://samples")
    for number, file in enumerate(files):
        write(folder, f"file-{number}", file)
    everything = {sample_id for file in files for sample_id in file}
    done = {sample_id for file in files for sample_id, outcome in file.items() if outcome != "error"}

    for steps in crashes:
        try:
            repair_and_index(MortalFolder.of(folder, steps), retry_errors=retry_errors)
        except CrashError:
            continue
    index = repair_and_index(folder, retry_errors=retry_errors)

    found = rows(folder)
    assert len(found) == len({row["sample_id"] for row in found})
    assert {row["sample_id"]: row["file"] for row in found} == index.completed
    assert {row["sample_id"] for row in found if row["outcome"] != "error"} == done
    assert index.completed.keys() == (done if retry_errors else everything)
    again = repair_and_index(folder, retry_errors=retry_errors)
    assert (again.completed, again.repeated, again.retried_errors) == (index.completed, 0, 0)


def test_a_crash_between_writing_the_rest_and_deleting_the_file_is_healed(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "error"})
    with pytest.raises(CrashError):
        repair_and_index(MortalFolder.of(samples, 1), retry_errors=True)
    assert sorted(row["sample_id"] for row in rows(samples)) == ["one", "one", "two"]

    index = repair_and_index(samples, retry_errors=True)

    assert (index.repeated, index.retried_errors) == (1, 1)
    assert [row["sample_id"] for row in rows(samples)] == ["one"]


def test_a_torn_file_is_moved_aside_and_the_others_count(samples: Folder):
    write(samples, "a", {"one": "ok"})
    write(samples, "b", {"two": "ok"})
    torn = Path(samples.path) / "b.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])

    index = repair_and_index(samples, retry_errors=True)

    assert (index.completed, index.broken_files) == ({"one": "a.parquet"}, ("b.parquet",))
    assert samples.list_files() == ["a.parquet"]
    assert samples.list_folders() == []
    assert len(list(Path(samples.path).glob("*broken/b.parquet"))) == 1


def test_rows_repeated_in_one_file_are_there_once_afterwards(samples: Folder):
    rows_twice = [sample(each, outcome) for each in ("one", "two") for outcome in ("error", "ok")]
    samples.write_parquet("a.parquet", samples_table(rows_twice))
    index = repair_and_index(samples, retry_errors=False, counts=block_counts)
    assert index.repeated == 2
    assert [(row["sample_id"], row["outcome"]) for row in rows(samples)] == [("one", "ok"), ("two", "ok")]
    assert index.counts["rows"] == 2
    assert repair_and_index(samples, retry_errors=False).repeated == 0


def test_rows_are_counted_once_after_a_crash_between_a_rewrite_and_its_delete(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "error"})
    old = samples.read_bytes("a.parquet")
    repair_and_index(samples, retry_errors=True)
    samples.write_bytes("a.parquet", old)
    index = repair_and_index(samples, retry_errors=True, counts=block_counts)
    assert [row["sample_id"] for row in rows(samples)] == ["one"]
    assert (index.counts["rows"], index.repeated) == (1, 1)
    assert [row["file"] for row in rows(samples)] == list(index.completed.values())


@pytest.mark.parametrize(
    ("column", "value"), [("seconds", float("nan")), ("seconds", float("inf")), ("outcome", "weird")]
)
def test_a_file_with_values_that_no_run_writes_is_moved_aside(samples: Folder, column: str, value: object):
    write(samples, "a", {"one": "ok"})
    table = samples.read_parquet("a.parquet")
    place = table.schema.get_field_index(column)
    samples.write_parquet("a.parquet", table.set_column(place, table.schema.field(column), pa.array([value])))
    assert repair_and_index(samples, retry_errors=True).broken_files == ("a.parquet",)


def test_a_file_moved_aside_replaces_no_earlier_one(samples: Folder):
    for content in (b"first", b"second", b"third"):
        samples.write_bytes("a.parquet", content)
        repair_and_index(samples, retry_errors=True)
    broken = samples / "_broken"
    assert {broken.read_bytes(name) for name in broken.list_files()} == {b"first", b"second", b"third"}


@pytest.mark.parametrize(
    "content",
    [b"", b"no parquet at all", pytest.param(None, id="another schema")],
)
def test_a_file_that_holds_no_samples_is_moved_aside(samples: Folder, content: bytes | None):
    if content is None:
        samples.write_parquet("a.parquet", pa.table({"sample_id": ["one"], "outcome": ["ok"]}))
    else:
        samples.write_bytes("a.parquet", content)
    assert repair_and_index(samples, retry_errors=True).broken_files == ("a.parquet",)


def test_a_flipped_bit_never_passes_for_a_sample(samples: Folder):
    write(samples, "a", {f"sample {number}": "ok" for number in range(20)})
    path = Path(samples.path) / "a.parquet"
    whole, table = path.read_bytes(), pq.read_table(path)
    chance = random.Random(0)
    broken = 0
    for _ in range(150):
        place = chance.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
        if repair_and_index(samples, retry_errors=True).broken_files:
            broken += 1
        else:
            assert pq.read_table(path).equals(table)
    assert broken > 75


class Told:
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def report(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_rows_of_other_samples_are_moved_aside_and_reported(samples: Folder):
    write(samples, "a", {"one": "ok", "strange": "ok"})
    write(samples, "b", {"stranger": "ok", "strangest": "error"})
    write(samples, "c", {"two": "truncated"})
    index = repair_and_index(samples, retry_errors=True, counts=block_counts, expected=["one", "two", "three"])
    assert index.completed.keys() == {"one", "two"}
    assert {row["sample_id"]: row["file"] for row in rows(samples)} == index.completed
    assert (index.counts["rows"], index.retried_errors) == (2, 0)
    aside = samples / "_broken"
    assert {row["sample_id"]: row["file"] for row in rows(aside)} == {
        "strange": "a.parquet",
        "stranger": "b.parquet",
        "strangest": "b.parquet",
    }
    told = Told()
    report_repairs(index, told)
    assert [sentence.partition(":")[0] for sentence in told.sentences] == [
        "a.parquet held 1 rows of samples that this run does not have",
        "b.parquet held 2 rows of samples that this run does not have",
    ]


@settings(max_examples=30)
@given(files, st.lists(st.integers(0, 5), max_size=2))
def test_no_row_is_lost_where_a_crash_cuts_the_moving_of_foreign_rows_off(files: list[File], crashes: list[int]):
    memory = fs._MockFileSystem()
    memory.create_dir("samples/_broken")
    folder = Folder(memory, "samples", "mock://samples")
    for number, file in enumerate(files):
        write(folder, f"file-{number}", file)
    for steps in crashes:
        try:
            repair_and_index(MortalFolder.of(folder, steps), retry_errors=False, expected=["s1", "s2"])
        except CrashError:
            continue
    index = repair_and_index(folder, retry_errors=False, expected=["s1", "s2"])
    found = {row["sample_id"] for row in rows(folder)}
    everything = {sample_id for file in files for sample_id in file}
    assert found == index.completed.keys() == everything & {"s1", "s2"}
    assert {row["sample_id"] for row in rows(folder / "_broken")} == everything - {"s1", "s2"}


@pytest.mark.parametrize(
    "column", [pa.array([1]), pa.array([None], pa.string()), pa.array([b"\xff"]).view(pa.string())], ids=str
)
def test_a_file_with_other_kinds_of_values_is_moved_aside(samples: Folder, column: pa.Array):
    table = samples_table([sample("one")])
    samples.write_parquet("a.parquet", table.set_column(0, "sample_id", column))
    assert repair_and_index(samples, retry_errors=True).broken_files == ("a.parquet",)


def test_files_of_versions_without_notes_are_read(samples: Folder):
    table = samples_table([sample("one")])
    old = pa.list_(
        pa.struct([field for field in table.schema.field("verdicts").type.value_type if field.name != "note"])
    )
    place = table.schema.get_field_index("verdicts")
    samples.write_parquet("a.parquet", table.set_column(place, "verdicts", pa.array([[]], old)))
    assert repair_and_index(samples, retry_errors=True).completed == {"one": "a.parquet"}
