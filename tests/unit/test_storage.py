"""Storage: a name shows a whole file or no file, secrets stay out of messages, errors say what to do."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs
from pyarrow.dataset import dataset

from safechain_ray.errors import InputError, StorageError
from safechain_ray.storage import Folder, open_folder, read_uri, redact

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


def test_what_is_written_is_read_back(folder: Folder) -> None:
    folder.write_text("run.json", "{}\n")
    folder.write_bytes("blob", b"\x00\xff")
    folder.write_parquet("samples.parquet", TABLE)
    assert folder.read_text("run.json") == "{}\n"
    assert folder.read_bytes("blob") == b"\x00\xff"
    assert folder.read_parquet("samples.parquet").equals(TABLE)
    assert folder.read_parquet("samples.parquet", ["score"]).column_names == ["score"]


def test_parquet_is_compressed_with_zstd(folder: Folder) -> None:
    folder.write_parquet("samples.parquet", TABLE)
    assert pq.read_metadata(f"{folder.path}/samples.parquet").row_group(0).column(0).compression == "ZSTD"


def test_a_file_is_replaced_whole(folder: Folder) -> None:
    folder.write_text("run.json", "the old text, which is longer")
    folder.write_text("run.json", "new")
    assert folder.read_text("run.json") == "new"
    assert os.listdir(folder.path) == ["run.json"]


def test_names_may_hold_folders_and_subfolders_are_folders(folder: Folder) -> None:
    folder.write_text("verdicts/guard/part.txt", "x")
    assert (folder / "verdicts" / "guard").read_text("part.txt") == "x"
    assert (folder / "verdicts").list_folders() == ["guard"]
    assert str(folder / "verdicts") == f"{folder}/verdicts"


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


@pytest.mark.parametrize("spelling", ["relative", "absolute", "file URI"])
def test_a_local_folder_may_be_spelt_in_three_ways(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = {"relative": "out", "absolute": str(tmp_path / "out"), "file URI": (tmp_path / "out").as_uri()}[spelling]
    opened = open_folder(uri)
    assert opened.path == str(tmp_path / "out")
    assert opened.is_local


def test_a_relative_folder_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened = open_folder("out")
    monkeypatch.chdir("/")
    opened.write_text("a", "text")
    assert (tmp_path / "out" / "a").read_text() == "text"


def test_one_file_is_read_by_its_uri(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    assert read_uri(str(tmp_path / "a.txt")) == read_uri((tmp_path / "a.txt").as_uri()) == b"text"


@pytest.mark.parametrize("uri", ["", "ftp://host/folder", "s3://", "s3://key:sec/ret@bucket/folder", "s3://b/a?nope=1"])
def test_a_uri_that_can_not_be_used_is_refused(uri: str) -> None:
    with pytest.raises(InputError) as refusal:
        open_folder(uri)
    assert "ret@" not in str(refusal.value)


def test_a_missing_file_is_named(folder: Folder) -> None:
    with pytest.raises(StorageError, match=r"read .*/runs/none: there is no such file"):
        folder.read_bytes("none")
    with pytest.raises(StorageError, match=r"read .*/runs/none.parquet: there is no such file"):
        folder.read_parquet("none.parquet")


def test_a_broken_parquet_file_and_a_missing_column_are_storage_errors(folder: Folder) -> None:
    folder.write_bytes("broken.parquet", b"PAR1 and no more")
    folder.write_parquet("whole.parquet", TABLE)
    with pytest.raises(StorageError, match=r"broken\.parquet"):
        folder.read_parquet("broken.parquet")
    with pytest.raises(StorageError, match="nope"):
        folder.read_parquet("whole.parquet", ["nope"])


def test_checking_a_folder_makes_it_and_leaves_nothing_in_it(folder: Folder) -> None:
    folder.check_writable()
    assert os.listdir(folder.path) == []


def test_a_folder_without_the_right_to_write_is_refused_with_the_mend() -> None:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        with as_another_user(), pytest.raises(StorageError) as refusal:
            open_folder(name).check_writable()
    assert f"write {name}/" in str(refusal.value)
    assert "Permission denied" in str(refusal.value)
    assert "Choose another folder" in str(refusal.value)


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        open_folder(str(tmp_path / "file" / "run")).check_writable()


def test_a_full_disk_is_named_and_the_old_file_stays(tiny_disk: Path) -> None:
    folder = open_folder(str(tiny_disk))
    folder.write_text("samples.parquet", "the old text")
    with pytest.raises(StorageError, match=r"tiny/samples\.parquet: no space left"):
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

storage.os.fsync = stop_here
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


class Bucket(fs.FileSystemHandler):
    """An object store of the barest kind: it takes an object and remembers it, or fails when the upload ends."""

    def __init__(self, fails: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.fails = fails

    def open_output_stream(self, path: str, metadata: object) -> pa.PythonFile:
        bucket = self

        class Upload:
            closed = False
            data = b""

            def write(self, data: bytes) -> int:
                self.data += bytes(data)
                return len(data)

            def flush(self) -> None: ...

            def close(self) -> None:
                if bucket.fails and not self.closed:
                    self.closed = True
                    raise OSError("connection reset")
                bucket.objects.setdefault(path, self.data)

        return pa.PythonFile(Upload(), mode="w")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return pa.BufferReader(self.objects[path])

    def delete_file(self, path: str) -> None:
        if path not in self.objects:
            raise FileNotFoundError(path)
        del self.objects[path]

    def get_type_name(self) -> str:
        return "bucket"

    def normalize_path(self, path: str) -> str:
        return path

    def _unused(self, *args: object) -> None:
        raise NotImplementedError

    get_file_info = get_file_info_selector = open_input_file = open_append_stream = copy_file = move = _unused
    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _unused


def in_bucket(bucket: Bucket) -> Folder:
    return Folder(fs.PyFileSystem(bucket), "bucket/run", "s3://key:secret@bucket/run?endpoint_override=host:1")


def test_an_object_goes_up_under_its_final_name_at_once() -> None:
    bucket = Bucket()
    in_bucket(bucket).write_text("run.json", "{}")
    assert bucket.objects == {"bucket/run/run.json": b"{}"}
    assert in_bucket(bucket).read_text("run.json") == "{}"


def test_an_upload_that_fails_at_its_end_is_an_error_and_leaves_nothing() -> None:
    bucket = Bucket(fails=True)
    with pytest.raises(StorageError) as failure:
        in_bucket(bucket).check_writable()
    assert "connection reset" in str(failure.value)
    assert "credentials" in str(failure.value)
    assert "secret" not in str(failure.value)


def test_a_folder_in_a_store_shows_no_secrets_and_keeps_its_query() -> None:
    child = in_bucket(Bucket()) / "samples"
    assert str(child) == "s3://***@bucket/run/samples?***"
    assert child.uri == "s3://key:secret@bucket/run/samples?endpoint_override=host:1"
    assert child.path == "bucket/run/samples"
    assert "secret" not in repr(child)


@pytest.mark.parametrize("uri", ["out", "s3://key:secret@bucket/run?region=us-east-1&scheme=http", "gs://bucket/run"])
def test_a_folder_travels_to_another_process(uri: str) -> None:
    opened = open_folder(uri)
    copy = pickle.loads(pickle.dumps(opened))
    assert (copy.path, copy.uri, copy.filesystem) == (opened.path, opened.uri, opened.filesystem)


class Requests(BaseHTTPRequestHandler):
    """Speaks just enough of S3 to take one upload: counts the requests, and refuses all who are not welcome."""

    seen: list[tuple[str, str, str | None]]
    welcome: bool

    def do_PUT(self) -> None:
        while size := int(self.rfile.readline(), 16):  # the body comes in chunks
            self.rfile.read(size + len("\r\n"))
        self.seen.append((self.command, self.path, self.headers["Content-Type"]))
        self.send_response(200 if self.welcome else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


@contextmanager
def s3_server(welcome: bool) -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    """A folder's URI and the requests so far, at a server that answers every upload with 200 or with 403."""
    seen: list[tuple[str, str, str | None]] = []
    handler = type("Handler", (Requests,), {"seen": seen, "welcome": welcome})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        place = f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
        yield f"s3://key:secret@bucket/run?{place}", seen
        server.shutdown()


def test_a_store_that_refuses_the_keys_is_named_without_them() -> None:
    with s3_server(welcome=False) as (uri, _), pytest.raises(StorageError) as failure:
        open_folder(uri).check_writable()
    assert "s3://***@bucket/run/_probe-" in str(failure.value)
    assert "ACCESS_DENIED" in str(failure.value)
    assert "credentials of the environment" in str(failure.value)
    assert "secret" not in str(failure.value)


def test_a_small_file_goes_to_s3_in_one_request_with_its_type() -> None:
    with s3_server(welcome=True) as (uri, seen):
        open_folder(uri).write_text("report.html", "<p>done</p>")
    assert [(command, path.partition("?")[0], kind) for command, path, kind in seen] == [
        ("PUT", "/bucket/run/report.html", "text/html")
    ]


@given(key=st.text("abc/+=%", min_size=1), path=st.text("xyz/.@", max_size=12))
def test_no_secret_survives_redaction(key: str, path: str) -> None:
    assert redact(f"see s3://id:{key}@bucket/{path}?token={key}!") == redact(f"see s3://id:other@bucket/{path}?t=1!")


def test_redaction_leaves_plain_addresses_alone() -> None:
    for text in ("s3://bucket/run", "https://host:8000/a.csv", "/local/a@b.csv", "gs://bucket/a@b"):
        assert redact(text) == text
