"""Contract of every folder, on a disk and in real object stores."""

import pickle
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from safechain_ray.datasets.files import read_file
from safechain_ray.errors import StorageError
from safechain_ray.storage import Folder, open_folder, read_uri, write_uri
from tests.azure_server import AzureStore
from tests.gcs_server import GoogleServer
from tests.s3_server import Store

TABLE = pa.table({"sample_id": ["a", "b"], "score": [0.5, None]})


@pytest.fixture(params=["disk", "store", "google", "azure"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return open_folder(str(tmp_path / "runs"))
    store: Store | GoogleServer | AzureStore = request.getfixturevalue(request.param)
    return open_folder(store.uri(f"{uuid4().hex}/runs"))


def test_what_is_written_is_read_back(folder: Folder) -> None:
    folder.write_text("run.json", "{}\n")
    folder.write_bytes("blob", b"\x00\xff")
    folder.write_parquet("samples.parquet", TABLE)
    assert folder.read_text("run.json") == "{}\n"
    assert folder.read_bytes("blob") == b"\x00\xff"
    assert folder.read_parquet("samples.parquet").equals(TABLE)
    assert folder.read_parquet("samples.parquet", ["score"]).column_names == ["score"]


def test_a_file_is_replaced_whole(folder: Folder) -> None:
    folder.write_text("run.json", "the old text, which is longer")
    folder.write_text("run.json", "new")
    assert folder.read_text("run.json") == "new"
    assert folder.list_files() == ["run.json"]


def test_names_may_hold_folders_and_subfolders_are_folders(folder: Folder) -> None:
    folder.write_text("verdicts/guard/part.txt", "x")
    assert (folder / "verdicts" / "guard").read_text("part.txt") == "x"
    assert (folder / "verdicts").list_folders() == ["guard"]
    assert (folder / "verdicts").path == f"{folder.path}/verdicts"


def test_listing_shows_files_with_the_suffix_and_no_hidden_ones(folder: Folder) -> None:
    for name in ("b.parquet", "a.parquet", "c.json", ".a.parquet.tmp", "_probe.parquet", "deep/d.parquet"):
        folder.write_text(name, "")
    assert folder.list_files(".parquet") == ["a.parquet", "b.parquet"]
    assert folder.list_files() == ["a.parquet", "b.parquet", "c.json"]


def test_a_folder_that_is_not_there_lists_nothing(folder: Folder) -> None:
    assert not folder.exists()
    assert folder.list_files() == []


def test_files_are_moved_and_deleted(folder: Folder) -> None:
    folder.write_text("a", "text")
    folder.move("a", "old/b")
    assert not folder.exists("a")
    assert folder.read_text("old/b") == "text"
    folder.delete("old/b")
    folder.delete("old/b")
    assert not folder.exists("old/b")


def test_a_missing_file_is_named(folder: Folder) -> None:
    with pytest.raises(StorageError, match=r"read .*/runs/none.*: there is no such file.*\. Fix: check the path"):
        folder.read_bytes("none")
    with pytest.raises(StorageError, match=r"read .*/runs/none.parquet.*: there is no such file"):
        folder.read_parquet("none.parquet")


def test_a_broken_parquet_file_and_a_missing_column_are_storage_errors(folder: Folder) -> None:
    folder.write_bytes("broken.parquet", b"PAR1 and no more")
    folder.write_parquet("whole.parquet", TABLE)
    with pytest.raises(StorageError, match=r"broken\.parquet.*\. Fix: restore the file from a copy, or rerun the"):
        folder.read_parquet("broken.parquet")
    with pytest.raises(StorageError, match="nope"):
        folder.read_parquet("whole.parquet", ["nope"])


def test_checking_a_folder_leaves_nothing_in_it(folder: Folder) -> None:
    folder.check_writable()
    assert folder.list_files() == []


def test_a_folder_is_deleted_with_all_in_it_and_only_once(folder: Folder) -> None:
    for name in ("stages/0/a.parquet", "stages/1/b.parquet", "run.json"):
        folder.write_text(name, "x")
    folder.delete_folder("stages")
    folder.delete_folder("stages")
    assert not folder.exists("stages/1/b.parquet")
    assert folder.list_files() == ["run.json"]


def test_a_large_file_is_written_and_read_whole(folder: Folder) -> None:
    table = pa.table({"number": pa.array(range(3_000_000)), "text": pa.array(["x", "y", "z"] * 1_000_000)})
    folder.write_parquet("large.parquet", table)
    assert folder.read_parquet("large.parquet", ["text"]).equals(table.select(["text"]))
    data = bytes(range(256)) * 50_000
    folder.write_bytes("large", data)
    assert folder.read_bytes("large") == data


def test_a_copy_in_another_process_reads_and_writes(folder: Folder) -> None:
    copy = pickle.loads(pickle.dumps(folder))
    copy.write_text("a", "text")
    assert folder.read_text("a") == "text"


def test_a_guard_is_asked_before_every_change_and_never_before_a_look(folder: Folder) -> None:
    def refuse() -> None:
        raise StorageError("not now")

    folder.write_text("a", "text")
    guarded = folder.guarded(refuse)
    changes = (
        lambda: (guarded / "deep").write_text("b", "text"),
        lambda: guarded.move("a", "b"),
        lambda: guarded.delete("a"),
        lambda: guarded.delete_folder("deep"),
    )
    for change in changes:
        with pytest.raises(StorageError, match="not now"):
            change()
    assert guarded.read_text("a") == "text"
    assert guarded.list_files() == ["a"]


def test_data_sets_are_read_from_wherever_they_are(folder: Folder) -> None:
    rows = [{"prompt": "Why?"}, {"prompt": "How?"}]
    folder.write_text("prompts.csv", "prompt\nWhy?\nHow?\n")
    folder.write_text("prompts.jsonl", '{"prompt": "Why?"}\n{"prompt": "How?"}\n')
    folder.write_parquet("prompts.parquet", pa.Table.from_pylist(rows))
    for name in ("prompts.csv", "prompts.jsonl", "prompts.parquet"):
        records = read_file(_uri(folder, name))
        assert [dict(row) for row in records.rows] == rows, name


def test_a_file_is_written_by_its_uri(folder: Folder) -> None:
    write_uri(_uri(folder, "report.html"), b"<p>")
    assert read_uri(_uri(folder, "report.html")) == folder.read_bytes("report.html") == b"<p>"


def _uri(folder: Folder, name: str) -> str:
    return (folder / name).uri
