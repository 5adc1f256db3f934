"""Store faults: transient errors are retried for a bounded time, final errors fail at once with the fix."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from uuid import uuid4

import pyarrow as pa
import pytest
from pyarrow import fs

from safechain_ray.errors import StorageError, StoreUnavailableError
from safechain_ray.storage import Folder, files, open_folder, retry, uris
from tests.fault_proxy import Mode
from tests.s3_server import Store

pytestmark = pytest.mark.slow  # they wait for real timeouts

LARGE = bytes(range(256)) * 40_000
"""10 MB: more than what goes up in one request."""


@pytest.fixture
def folder(store: Store) -> Folder:
    return open_folder(store.uri(f"{uuid4().hex}/run")).with_retry(60)


@contextmanager
def later(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    timer = Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def heal(store: Store) -> None:
    store.proxy.mode = "passes"


def test_a_small_file_goes_up_in_one_request_with_its_type(store: Store, folder: Folder) -> None:
    folder.write_text("report.html", "<p>done</p>")
    assert dict(store.proxy.requests) == {"PUT": 1}
    with store.direct().open_input_file(f"{folder.path}/report.html") as file:
        assert file.metadata()["Content-Type"] == b"text/html"


def test_a_file_is_read_in_one_request_beside_the_look_at_its_size(store: Store, folder: Folder) -> None:
    folder.write_bytes("medium", LARGE[:4_000_000])
    store.proxy.requests.clear()
    assert folder.read_bytes("medium") == LARGE[:4_000_000]
    assert dict(store.proxy.requests) == {"HEAD": 1, "GET": 1}


@pytest.mark.parametrize("texts", [("a long text", "b"), ("b", "a longer text")])
def test_a_file_that_is_replaced_while_it_is_read_comes_from_one_version(
    folder: Folder, texts: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow alone cuts the new one off, or fills it up with what stands in memory."""
    folder.write_text("run.json", texts[0])
    tag_of = files._entity_tag

    def tag_and_replace(filesystem: fs.FileSystem, file: pa.NativeFile) -> str | None:
        tag = tag_of(filesystem, file)
        if folder.list_files() == ["run.json"]:
            folder.write_text("replaced", "")
            folder.write_text("run.json", texts[1])
        return tag

    monkeypatch.setattr(files, "_entity_tag", tag_and_replace)
    assert folder.read_text("run.json") == texts[1]


def test_a_file_that_is_deleted_while_it_is_read_is_not_there(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("run.json", "{}")
    tag_of = files._entity_tag

    def tag_and_delete(filesystem: fs.FileSystem, file: pa.NativeFile) -> str | None:
        folder.delete("run.json")
        return tag_of(filesystem, file)

    monkeypatch.setattr(files, "_entity_tag", tag_and_delete)
    with pytest.raises(StorageError, match="there is no such file"):
        folder.read_text("run.json")


@pytest.mark.parametrize("fault", ["unavailable", "breaks uploads"])
def test_a_write_in_an_outage_is_done_again_whole(store: Store, folder: Folder, fault: Mode) -> None:
    store.proxy.mode = fault
    with later(1.5, lambda: heal(store)):
        folder.write_bytes("large", LARGE)
    assert store.proxy.faults > 1
    assert folder.read_bytes("large") == LARGE
    assert folder.list_files() == ["large"]


@pytest.mark.slow
def test_every_operation_outlasts_an_outage(store: Store, folder: Folder) -> None:
    folder.write_text("a", "text")
    folder.write_text("stages/0/b", "text")
    operations: tuple[Callable[[], object], ...] = (
        lambda: folder.read_text("a"),
        lambda: folder.exists("a"),
        lambda: folder.list_files(),
        lambda: folder.move("a", "b"),
        lambda: folder.delete_folder("stages"),
        lambda: folder.delete("b"),
    )
    for number, operation in enumerate(operations, start=1):
        store.proxy.fail_next(2)
        operation()
        assert store.proxy.faults == 2 * number
    assert folder.list_files() == []
    assert not folder.exists("stages/0/b")


def test_a_store_that_stalls_is_given_up_and_asked_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uris, "REQUEST_TIMEOUT", 1.0)
    monkeypatch.setattr(retry, "NOTIFY_AFTER", 0.5)
    said: list[str] = []
    folder = open_folder(store.uri(f"{uuid4().hex}/run")).with_retry(60, said.append)
    folder.write_text("a", "text")
    store.server.freeze()
    with later(4, store.server.thaw):
        assert folder.read_text("a") == "text"
    assert "Timeout" in said[0]


@pytest.mark.slow
def test_servers_killed_in_the_middle_of_a_write_and_started_again_hold_it_whole(store: Store, folder: Folder) -> None:
    folder.write_bytes("large", b"the old one")
    starting = Timer(0.5, store.server.start)

    def kill_now_and_start_later() -> None:
        store.server.kill()
        starting.start()

    store.proxy.on_upload(5_000_000, kill_now_and_start_later)
    folder.write_bytes("large", LARGE)
    starting.join()
    assert store.proxy.faults == 1
    assert folder.read_bytes("large") == LARGE


def test_patience_ends_with_a_sentence(store: Store, folder: Folder) -> None:
    store.proxy.mode = "unavailable"
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError) as failure:
        folder.with_retry(1).write_text("run.json", "{}")
    assert 0.9 <= time.monotonic() - began < 20
    assert "run/run.json" in str(failure.value)
    assert "the store has not answered for" in str(failure.value)
    assert "Fix: check the network and the store's endpoint; rerun the command to resume" in str(failure.value)


def test_an_outage_and_its_end_are_told_once(store: Store, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "NOTIFY_AFTER", 0.5)
    said: list[str] = []
    patient = folder.with_retry(60, said.append)
    store.proxy.mode = "unavailable"
    with later(2, lambda: heal(store)):
        patient.write_text("run.json", "{}")
    assert len(said) == 2
    assert "has not answered" in said[0]
    assert "Nothing is lost" in said[0]
    assert "answers again" in said[1]
    assert not patient.is_unavailable


@pytest.mark.parametrize("keys", ["test%3Atester:wrong", "nobody:testing", "test%3Aguest:guesting"])
def test_wrong_keys_and_missing_rights_fail_at_once_without_showing_keys(store: Store, keys: str) -> None:
    began = time.monotonic()
    with pytest.raises(StorageError) as refusal:
        open_folder(store.uri("run", keys)).check_writable()
    assert time.monotonic() - began < 10
    assert "s3://***@bucket/run/_probe-" in str(refusal.value)
    assert "the store refuses" in str(refusal.value)
    assert "AWS_ACCESS_KEY_ID" in str(refusal.value) or "credentials of the environment" in str(refusal.value)
    assert keys.partition(":")[2] not in str(refusal.value)


def test_a_bucket_that_is_not_there_fails_at_once_with_the_fix(store: Store) -> None:
    folder = open_folder(store.uri("run").replace("s3://bucket/", "s3://no-such-bucket/"))
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"there is no such bucket \(.*\)\. Fix: create it, or correct its name"):
        folder.check_writable()
    assert time.monotonic() - began < 10


def test_reading_what_is_not_there_is_not_tried_again(store: Store, folder: Folder) -> None:
    began = time.monotonic()
    with pytest.raises(StorageError, match="there is no such file"):
        folder.read_bytes("none")
    assert not folder.exists("none")
    assert time.monotonic() - began < 10


def test_the_credentials_of_the_environment_and_its_endpoint_are_enough(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    folder = open_folder(f"s3://{store.bucket}/plain")
    folder.write_text("a", "text")
    assert isinstance(folder.filesystem, fs.S3FileSystem)
    assert folder.read_text("a") == "text"
