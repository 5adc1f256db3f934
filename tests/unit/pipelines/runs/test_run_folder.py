"""A run's folder stays in order: every sample once, torn files set aside, nothing finished lost, whatever crashed."""

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs
from small_runs import sample

from safechain_ray.cluster.workers.commit import block_counts
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.metrics.counts import COUNTED_COLUMNS, count_samples
from safechain_ray.metrics.summary import summarise
from safechain_ray.pipelines.runs.run_folder import RunFolder, differences, put_in_order, read_metrics
from safechain_ray.schema import Outcome, samples_table
from safechain_ray.storage import Folder, open_folder

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


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(open_folder(str(tmp_path / "run")))


def test_a_folder_that_is_not_there_holds_nothing(samples: Folder):
    assert put_in_order(samples, retry_errors=True).finished == {}


def test_what_is_in_order_is_left_as_it_is(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "truncated"})
    write(samples, "b", {"three": "blocked", "four": "error"})
    inventory = put_in_order(samples, retry_errors=False)
    assert inventory.finished == {"one": "a.parquet", "two": "a.parquet", "three": "b.parquet", "four": "b.parquet"}
    assert (inventory.repeated, inventory.retried_errors, inventory.broken_files) == (0, 0, ())
    assert samples.list_files() == ["a.parquet", "b.parquet"]


def test_errors_are_dropped_to_be_done_again_only_when_asked(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "error"})
    write(samples, "b", {"three": "error"})
    inventory = put_in_order(samples, retry_errors=True)
    assert set(inventory.finished) == {"one"}
    assert inventory.retried_errors == 2
    assert [(row["sample_id"], row["file"]) for row in rows(samples)] == list(inventory.finished.items())
    assert len(samples.list_files()) == 1


def test_what_is_finished_is_counted_without_the_rows_that_were_dropped(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "error"})
    write(samples, "b", {"two": "blocked", "three": "truncated"})
    write(samples, "c", {"three": "truncated", "four": "error"})
    write(samples, "d", {"five": "ok"})
    inventory = put_in_order(samples, retry_errors=True, counts=block_counts)
    counted = {name: inventory.counts[name] for name in ("rows", "ok", "truncated", "blocked", "error")}
    assert counted == {"rows": 4, "ok": 2, "truncated": 1, "blocked": 1, "error": 0}
    assert inventory.counts["rows"] == len(inventory.finished)
    assert not put_in_order(samples, retry_errors=True).counts


@pytest.mark.parametrize(("error_file", "finished_file"), [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("retry_errors", [True, False])
def test_of_two_rows_of_a_sample_the_error_goes(
    samples: Folder, error_file: str, finished_file: str, retry_errors: bool
):
    write(samples, error_file, {"one": "error"})
    write(samples, finished_file, {"one": "ok"})
    inventory = put_in_order(samples, retry_errors=retry_errors)
    assert [row["outcome"] for row in rows(samples)] == ["ok"]
    assert (inventory.finished, inventory.repeated) == ({"one": f"{finished_file}.parquet"}, 1)


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
            put_in_order(MortalFolder.of(folder, steps), retry_errors=retry_errors)
        except CrashError:
            continue
    inventory = put_in_order(folder, retry_errors=retry_errors)

    found = rows(folder)
    assert len(found) == len({row["sample_id"] for row in found})
    assert {row["sample_id"]: row["file"] for row in found} == inventory.finished
    assert {row["sample_id"] for row in found if row["outcome"] != "error"} == done
    assert inventory.finished.keys() == (done if retry_errors else everything)
    again = put_in_order(folder, retry_errors=retry_errors)
    assert (again.finished, again.repeated, again.retried_errors) == (inventory.finished, 0, 0)


def test_a_crash_between_writing_the_rest_and_deleting_the_file_is_healed(samples: Folder):
    write(samples, "a", {"one": "ok", "two": "error"})
    with pytest.raises(CrashError):
        put_in_order(MortalFolder.of(samples, 1), retry_errors=True)
    assert sorted(row["sample_id"] for row in rows(samples)) == ["one", "one", "two"]

    inventory = put_in_order(samples, retry_errors=True)

    assert (inventory.repeated, inventory.retried_errors) == (1, 1)
    assert [row["sample_id"] for row in rows(samples)] == ["one"]


def test_a_torn_file_is_moved_aside_and_the_others_count(samples: Folder):
    write(samples, "a", {"one": "ok"})
    write(samples, "b", {"two": "ok"})
    torn = Path(samples.path) / "b.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])

    inventory = put_in_order(samples, retry_errors=True)

    assert (inventory.finished, inventory.broken_files) == ({"one": "a.parquet"}, ("b.parquet",))
    assert samples.list_files() == ["a.parquet"]
    assert samples.list_folders() == []
    assert len(list(Path(samples.path).glob("*broken/b.parquet"))) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"no parquet at all", pytest.param(None, id="another schema")],
)
def test_a_file_that_holds_no_samples_is_moved_aside(samples: Folder, content: bytes | None):
    if content is None:
        samples.write_parquet("a.parquet", pa.table({"sample_id": ["one"], "outcome": ["ok"]}))
    else:
        samples.write_bytes("a.parquet", content)
    assert put_in_order(samples, retry_errors=True).broken_files == ("a.parquet",)


def test_a_flipped_bit_never_passes_for_a_sample(samples: Folder):
    write(samples, "a", {f"sample {number}": "ok" for number in range(20)})
    path = Path(samples.path) / "a.parquet"
    whole, table = path.read_bytes(), pq.read_table(path)
    chance = random.Random(0)
    broken = 0
    for _ in range(150):
        place = chance.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
        if put_in_order(samples, retry_errors=True).broken_files:
            broken += 1
        else:
            assert pq.read_table(path).equals(table)
    assert broken > 75


def test_a_run_is_read_as_it_was_written(run: RunFolder):
    assert run.read_run() is None
    run.write_run({"identity": {"samples": 5}, "tries": []})
    written = run.read_run()
    assert written is not None
    assert datetime.fromisoformat(written.pop("updated")) <= datetime.now(UTC)
    assert written == {"identity": {"samples": 5}, "tries": []}


def test_samples_without_a_run_are_no_runs_folder(run: RunFolder):
    write(run.samples, "a", {"one": "ok"})
    with pytest.raises(InputError, match=r"holds samples but no run\.json"):
        run.read_run()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"{}", b'"identity"'])
def test_a_run_json_that_is_none_is_refused_by_name(run: RunFolder, content: bytes):
    run.folder.write_bytes("run.json", content)
    with pytest.raises(InputError, match=r"/run\.json is no"):
        run.read_run()


def test_another_runs_folder_is_refused_with_what_differs(run: RunFolder):
    identity = {"model": {"name": "R1-7B", "dtype": "bfloat16"}, "settings": [{"samples": 5}], "parts": ["response"]}
    run.check_same({"identity": identity}, identity)
    here = {**identity, "settings": [{"samples": 3}], "parts": ["response", "answer"]}
    with pytest.raises(RunConflictError) as refused:
        run.check_same({"identity": identity}, here)
    assert str(refused.value).splitlines()[1:-1] == [
        "  settings.0.samples: 5 -> 3",
        '  parts: ["response"] -> ["response", "answer"]',
    ]
    assert "another --output" in str(refused.value)


tree = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=2),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abc"), children),
    max_leaves=8,
)


def test_a_run_of_other_rows_is_refused_with_the_keys_that_chose_them(tmp_path: Path):
    run = RunFolder(open_folder(str(tmp_path)))
    there = {"prompts": {"quickstart": "0" * 16}, "settings": [{"samples": 5}]}
    here = {"prompts": {"quickstart": "1" * 16}, "settings": [{"samples": 4}]}
    stored = {"identity": there, "config": {"datasets": [{"name": "quickstart", "limit": 60}], "output": "a"}}
    with pytest.raises(RunConflictError) as refused:
        run.check_same(stored, here, {"datasets": [{"name": "quickstart", "limit": 61}], "output": "b"})
    lines = str(refused.value).splitlines()
    assert lines[1:4] == [
        "  datasets.0.limit: 60 -> 61",
        "  prompts.quickstart: other content",
        "  settings.0.samples: 5 -> 4",
    ]


@given(tree, tree)
def test_trees_differ_in_at_least_one_line_just_where_they_are_not_equal(there: Any, here: Any):
    assert bool(differences(there, here)) == (there != here)


def test_a_long_difference_is_cut():
    (line,) = differences({"a": "x" * 500}, {"a": None})
    assert len(line) < 150
    assert line.endswith("... -> null")


def test_stages_are_there_until_they_are_deleted(run: RunFolder):
    assert not run.has_stages
    run.delete_stages()
    write(run.stage(0), "a", {"one": "ok"})
    assert run.has_stages
    run.delete_stages()
    assert not run.has_stages


def test_only_the_columns_that_metrics_need_are_read(run: RunFolder):
    write(run.samples, "a", {"one": "ok"})
    write(run.samples, "b", {"two": "ok", "three": "ok"})
    tables = list(run.counted_samples())
    assert [table.num_rows for table in tables] == [1, 2]
    assert {tuple(table.column_names) for table in tables} == {COUNTED_COLUMNS}


def test_the_metrics_of_a_run_read_as_they_were_written(run: RunFolder):
    metrics = summarise(count_samples([sample("one")]), [], [])
    run.folder.write_text("metrics.json", metrics.model_dump_json())
    assert read_metrics(run.folder.uri) == metrics


def test_a_folder_without_metrics_is_no_finished_run(run: RunFolder):
    with pytest.raises(InputError, match=r"has no metrics\.json: no run, or one that has not ended"):
        read_metrics(run.folder.uri)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"settings": 3}', b"\xff"])
def test_metrics_that_do_not_parse_are_refused_by_name(run: RunFolder, content: bytes):
    run.folder.write_bytes("metrics.json", content)
    with pytest.raises(InputError, match=r"/metrics\.json does not read as figures of a run"):
        read_metrics(run.folder.uri)
