"""Folders on a disk: atomic renames, and disk errors with the fix."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.dataset import dataset

from safechain_ray.errors import InputError, StorageError
from safechain_ray.storage import FileFacts, Folder, open_folder

TABLE = pa.table({"sample_id": ["a", "b"], "score": [0.5, None]})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return open_folder(str(tmp_path / "runs"))


@contextmanager
def as_another_user() -> Iterator[None]:
    """Root may write anywhere, so the test steps down to a user who owns nothing."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    path = tmp_path / "tiny"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("a small disk can be mounted only by root")
    yield path
    subprocess.run(["umount", str(path)], check=True, timeout=10)


def test_parquet_is_compressed_with_zstd(folder: Folder) -> None:
    folder.write_parquet("samples.parquet", TABLE)
    assert pq.read_metadata(f"{folder.path}/samples.parquet").row_group(0).column(0).compression == "ZSTD"


def test_checking_a_folder_makes_it_and_leaves_nothing_in_it(folder: Folder) -> None:
    folder.check_writable()
    assert os.listdir(folder.path) == []


def test_a_folder_without_the_right_to_write_is_refused_with_the_fix() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        with as_another_user(), pytest.raises(StorageError) as refusal:
            open_folder(name).check_writable()
    assert f"write {name}/" in str(refusal.value)
    assert "Permission denied" in str(refusal.value)
    assert str(refusal.value).endswith("Fix: give this user permission there, or choose another path.")


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Not a directory\. Fix: check the path\.$"):
        open_folder(str(tmp_path / "file" / "run")).check_writable()


def test_a_full_disk_is_named_and_the_old_file_stays(tiny_disk: Path) -> None:
    folder = open_folder(str(tiny_disk))
    folder.write_text("samples.parquet", "the old text")
    with pytest.raises(StorageError, match=r"tiny/samples\.parquet: no space left .* Fix: free some space"):
        folder.write_bytes("samples.parquet", b"x" * 100_000)
    assert os.listdir(tiny_disk) == ["samples.parquet"]
    assert folder.read_text("samples.parquet") == "the old text"


WRITER = """
import os, sys, time
import pyarrow as pa
from safechain_ray import storage

def stop_here(descriptor):
    print("in the middle", flush=True)
    time.sleep(60)

os.fsync = stop_here
storage.open_folder(sys.argv[1]).write_parquet("part.parquet", pa.table({"a": list(range(100_000))}))
"""


def test_a_writer_killed_in_the_middle_leaves_no_visible_file(folder: Folder) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, folder.path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "in the middle\n"
        writer.send_signal(signal.SIGKILL)
    assert folder.list_files() == []
    assert [name[0] for name in os.listdir(folder.path)] == ["."]
    assert dataset(folder.path, format="parquet").files == []


def test_an_interrupted_write_removes_its_hidden_file(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        folder.write_text("a", "text")
    assert os.listdir(folder.path) == []


@pytest.mark.parametrize("name", ["../victim", "/etc/victim", "a/../../victim", "a//b", "./a", "a\0b", "\ud800"])
def test_a_name_that_leads_out_of_the_folder_is_refused_before_anything_is_done(folder: Folder, name: str) -> None:
    for act in (folder.read_bytes, folder.exists, folder.delete, folder.delete_folder, folder.__truediv__):
        with pytest.raises(InputError, match="is no name inside"):
            act(name)
    with pytest.raises(InputError, match="is no name inside"):
        folder.write_text(name, "")
    assert list(Path(folder.path).parent.iterdir()) == []


def test_a_named_pipe_is_no_file_and_keeps_nobody_waiting(folder: Folder, tmp_path: Path) -> None:
    Path(folder.path).mkdir()
    os.mkfifo(tmp_path / "runs" / "run.json")
    (tmp_path / "runs" / "part.parquet").symlink_to("/dev/zero")
    for read in (folder.read_bytes, folder.read_parquet, lambda name: folder.fetch(FileFacts(name, 1, 0), tmp_path)):
        for name in ("run.json", "part.parquet"):
            with pytest.raises(StorageError, match=f"{name}: it is a named pipe or a device, not a file. Fix: replace"):
                read(name)
