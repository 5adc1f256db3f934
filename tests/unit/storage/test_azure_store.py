"""az:// on a real server of its API: atomic writes, one version per read, outages, refusals, the lease."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from safechain_ray.errors import OutputLockedError, StorageError, StoreUnavailableError
from safechain_ray.storage import Folder, acquire_lease, files, open_folder
from safechain_ray.storage.files import ReplacedError
from safechain_ray.storage.lease import LEASE_FILE, Timing
from safechain_ray.storage.retry import store_error_of
from tests.azure_server import ACCOUNT, KEY, AzureStore, sas_token
from tests.fault_proxy import Mode
from tests.processes import python_path

QUICK = Timing(lasts=4.0, renew_interval=0.3, confirm_delay=0.5, local_confirm_delay=0.3)

LARGE = bytes(range(256)) * 40_000
"""10 MB: three parts of an upload."""

TABLE = pa.table({"sample_id": [f"s{number}" for number in range(1000)], "score": [0.5] * 1000})


@pytest.fixture
def folder(azure: AzureStore) -> Folder:
    return open_folder(azure.uri(f"{uuid4().hex}/run")).with_retry(60)


@pytest.mark.parametrize(
    ("message", "final"),
    [
        ("Azure Error AuthenticationFailed (HTTP status 403): no", True),
        ("Azure Error PermissionDenied (HTTP status 403): 403 Forbidden", True),
        ("Azure Error ContainerNotFound (HTTP status 404): no", True),
        ("Azure Error TokenRefused (HTTP status 401): no", True),
        ("Azure Error InvalidPath: no", True),
        ("Azure Error InvalidHeaderValue (HTTP status 400): no", True),
        ("Azure Error LeaseIdMissing (HTTP status 412): no", True),
        ("Azure Error CredentialUnusable: Azure Cli not installed", True),
        ("Azure Error InvalidBlobType (HTTP status 409): no", True),
        ("Azure Error InvalidBlockList (HTTP status 400): no", False),
        ("Azure Error ServerBusy (HTTP status 503): slow down", False),
        ("Azure Error OperationTimedOut (HTTP status 500): no", False),
        ("Azure Error ContainerBeingDeleted (HTTP status 409): no", False),
        ("Azure Error Generic (HTTP status 429): too many", False),
        ("Azure Error NoAnswer: HTTP error: error sending request: Connection refused", False),
        ("Azure Error TokenRequest: no credentials in the environment", False),
    ],
)
def test_errors_are_final_or_transient_by_their_code(message: str, final: bool) -> None:
    assert store_error_of(OSError(message)).final is final


def obstore_error(text: str, kind: str = "GenericError") -> Exception:
    exceptions = pytest.importorskip("obstore.exceptions")
    error: Exception = getattr(exceptions, kind)(text)
    return error


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Error performing PUT http://h/c/a in 4ms - Server returned non-2xx status code: 403 Forbidden: "
            "<Error>\n  <Code>AuthenticationFailed</Code>\n  <Message>No.\nRequestId:1</Message></Error>",
            "Azure Error AuthenticationFailed (HTTP status 403): No.",
        ),
        (
            "Error performing PUT REDACTED in 1ms - Server returned non-2xx status code: 503 Service Unavailable: ",
            "Azure Error Generic (HTTP status 503): Server returned non-2xx status code: 503 Service Unavailable",
        ),
        (
            "Error performing PUT http://h/c/a?sig=SECRET in 1ms - HTTP error: error sending request\n\nDebug source:\n"
            'HttpError {\n kind: Connect, Os { message: "Connection refused" } }',
            "Azure Error NoAnswer: HTTP error: error sending request: Connection refused",
        ),
        (
            "Error performing PUT http://h/c/a in 1s - HTTP error: error sending request\n\nDebug source:\n"
            "HttpError {\n    kind: Timeout,\n source: TimedOut }",
            "Azure Error NoAnswer: HTTP error: error sending request: Timeout",
        ),
        (
            "Bulk delete request failed for key a: The specified container does not exist. (code: 404)",
            "Azure Error ContainerNotFound (HTTP status 404): Bulk delete request failed for key a: The specified "
            "container does not exist. (code: 404)",
        ),
        (
            "Bulk delete request failed for key a: This request is not authorized. (code: 403)",
            "Azure Error PermissionDenied (HTTP status 403): Bulk delete request failed for key a: This request is not "
            "authorized. (code: 403)",
        ),
        (
            "Error performing token request: Error performing GET http://169.254.169.254/x in 1s - HTTP error: no",
            "Azure Error TokenRequest: no credentials in the environment, and no token from the identity service "
            "(HTTP error: no)",
        ),
    ],
)
def test_an_error_keeps_azures_code_and_message_and_no_request(text: str, shown: str) -> None:
    error = obstore_error(f"Generic MicrosoftAzure error: {text}" if "key a" not in text else text)
    from safechain_ray.storage.azure_errors import azure_error

    assert str(azure_error(error)) == shown


def test_a_malformed_key_is_an_error_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "not!base64")
    with pytest.raises(
        StorageError, match=r"Can't reach az://container/a\?\*\*\*: .*Fix: check AZURE_STORAGE_ACCOUNT_NA"
    ):
        open_folder("az://container/a?account_name=x")


def test_copies_hold_no_secret_and_take_the_credentials_of_their_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    opened = open_folder("az://container/a?account_name=x")
    copy = pickle.loads(pickle.dumps(opened))
    assert copy.filesystem == opened.filesystem
    assert copy.filesystem != open_folder("az://container/a?account_name=y").filesystem
    assert KEY.encode() not in pickle.dumps(opened)
    assert KEY not in repr(opened.filesystem.handler)


@pytest.mark.parametrize("name", ["a b", "a#b", "a%20b", "100%", "ü", "a+b&c", "a=b?", "[x]"])
def test_names_may_hold_what_a_uri_escapes(folder: Folder, name: str) -> None:
    folder.write_text(f"deep {name}/{name}", name)
    assert (folder / f"deep {name}").list_files() == [name]
    assert folder.list_folders() == [f"deep {name}"]
    assert folder.read_text(f"deep {name}/{name}") == name
    folder.move(f"deep {name}/{name}", name)
    folder.delete_folder(f"deep {name}")
    assert folder.list_files() == [name]
    folder.delete(name)
    assert not folder.exists(name)


@pytest.mark.parametrize("name", ["a\tb", "a\\b"])
def test_a_name_that_azure_can_not_hold_is_refused_at_once(folder: Folder, name: str) -> None:
    with pytest.raises(StorageError, match=r"Fix: rename it"):
        folder.write_text(name, "text")


def test_a_small_file_goes_up_in_one_request_with_its_type(azure: AzureStore, folder: Folder) -> None:
    folder.write_text("report.html", "<p>done</p>")
    assert dict(azure.proxy.requests) == {"PUT": 1}
    assert azure.server.content_type(f"{folder.path}/report.html") == "text/html"


WRITE_AND_DIE = """
import os, sys
from safechain_ray.storage import open_folder

folder = open_folder(sys.argv[1])
stream = folder.filesystem.open_output_stream(f"{folder.path}/a", compression=None)
stream.write(bytes(30_000_000))
os._exit(9)
"""


def test_a_writer_that_is_killed_leaves_the_old_file(folder: Folder) -> None:
    folder.write_text("a", "old")
    environment = {**os.environ, "PYTHONPATH": python_path()}
    dead = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, folder.uri], env=environment, timeout=60)
    assert dead.returncode == 9
    assert folder.read_text("a") == "old"


def test_an_upload_that_is_dropped_leaves_the_old_file(folder: Folder) -> None:
    folder.write_text("a", "old")

    def chunks() -> Any:
        yield LARGE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.put_object(folder.filesystem, f"{folder.path}/a", chunks())
    assert folder.read_text("a") == "old"


def test_a_broken_upload_leaves_the_old_file(azure: AzureStore, folder: Folder) -> None:
    folder.write_text("a", "old")
    azure.proxy.mode = "breaks uploads"
    with pytest.raises(StoreUnavailableError):
        folder.with_retry(0).write_bytes("a", LARGE)
    azure.proxy.mode = "passes"
    assert folder.read_text("a") == "old"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["unavailable", "breaks uploads"])
def test_a_write_in_an_outage_is_done_again_whole(azure: AzureStore, folder: Folder, fault: Mode) -> None:
    azure.proxy.mode = fault
    healing = Timer(1.5, lambda: setattr(azure.proxy, "mode", "passes"))
    healing.start()
    folder.write_bytes("large", LARGE)
    healing.join()
    assert azure.proxy.faults > 1
    assert folder.read_bytes("large") == LARGE
    assert folder.list_files() == ["large"]


@pytest.mark.slow
def test_every_operation_outlasts_an_outage(azure: AzureStore, folder: Folder) -> None:
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
        azure.proxy.fail_next(2)
        operation()
        assert azure.proxy.faults == 2 * number
    assert folder.list_files() == []
    assert not folder.exists("stages/0/b")


@pytest.mark.slow
def test_a_server_killed_in_the_middle_of_a_write_and_started_again_holds_it_whole(
    azure: AzureStore, folder: Folder
) -> None:
    folder.write_bytes("large", b"the old one")
    azure.server.wait_until_saved(azure.container)
    starting = Timer(0.5, azure.server.start)

    def kill_now_and_start_later() -> None:
        azure.server.kill()
        starting.start()

    azure.proxy.on_upload(3_000_000, kill_now_and_start_later)
    folder.write_bytes("large", LARGE)
    starting.join()
    assert azure.proxy.faults == 1
    assert folder.read_bytes("large") == LARGE


@pytest.mark.slow
def test_a_stalled_read_is_given_up_and_asked_again(
    azure: AzureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safechain_ray.storage import azure as module

    folder.write_text("a", "text")
    monkeypatch.setattr(module, "READ_TIMEOUT", "1s")
    hasty = open_folder(folder.uri).with_retry(60)
    azure.proxy.mode = "stalls"
    healing = Timer(3, lambda: setattr(azure.proxy, "mode", "passes"))
    healing.start()
    began = time.monotonic()
    assert hasty.read_text("a") == "text"
    assert time.monotonic() - began < 10
    healing.join()


@pytest.mark.slow
def test_an_upload_may_take_longer_than_a_read_without_a_byte(
    azure: AzureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safechain_ray.storage import azure as module

    monkeypatch.setattr(module, "READ_TIMEOUT", "1s")
    hasty = open_folder(folder.uri).with_retry(0)
    azure.proxy.on_upload(1_000_000, lambda: time.sleep(2.5))
    hasty.write_bytes("large", LARGE)
    assert azure.proxy.faults == 1
    assert folder.read_bytes("large") == LARGE


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "data"), [("SMALL_TIMEOUT", b"text"), ("PART_TIMEOUT", LARGE)])
def test_a_stalled_upload_is_given_up(
    azure: AzureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch, limit: str, data: bytes
) -> None:
    from safechain_ray.storage import azure as module

    monkeypatch.setattr(module, limit, "1s")
    hasty = open_folder(folder.uri).with_retry(0)
    azure.proxy.mode = "stalls"
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"no answer in 1 s|Timeout"):
        hasty.write_bytes("a", data)
    assert time.monotonic() - began < 10


def test_a_stalled_renewal_of_a_lease_ends_before_the_lease_expires() -> None:
    """A renewal reads the lease, then writes it."""
    files_of_azure = pytest.importorskip("safechain_ray.storage.azure_files")
    stalled = 2 * int(files_of_azure.SMALL_TIMEOUT.rstrip("s"))
    assert Timing().renew_interval + stalled < Timing().lasts


def test_at_most_four_parts_of_an_upload_are_sent_at_once(azure: AzureStore, folder: Folder) -> None:
    data = bytes(48 * 2**20)
    folder.write_bytes("large", data)
    assert 2 <= azure.proxy.most_uploads <= 4
    assert folder.read_bytes("large") == data


def test_of_several_large_uploads_of_one_name_each_succeeds_and_one_is_stored(
    azure: AzureStore, folder: Folder
) -> None:
    contents = [bytes([letter]) * len(LARGE) for letter in b"abcd"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda data: folder.write_bytes("same", data), contents))
    assert folder.read_bytes("same") in contents


def test_ranges_of_a_replaced_file_are_never_mixed(folder: Folder) -> None:
    folder.write_bytes("a", LARGE)
    with folder.filesystem.open_input_file(f"{folder.path}/a") as file:
        assert file.read(10) == LARGE[:10]
        folder.write_bytes("a", b"another")
        with pytest.raises(ReplacedError, match="it was replaced while it was read"):
            file.read(10)
    assert folder.read_bytes("a") == b"another"


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safechain_ray.storage.azure_files import Version

    folder.write_text("run.json", "the old text, which is longer")
    read_at = Version.read_at

    def replace_and_read(self: Version, length: int, offset: int) -> bytes:
        if not folder.exists("replaced"):
            folder.write_text("replaced", "")
            folder.write_text("run.json", "new")
        return read_at(self, length, offset)

    monkeypatch.setattr(Version, "read_at", replace_and_read)
    assert folder.read_text("run.json") == "new"


def test_columns_of_a_large_table_are_read_in_ranges(
    azure: AzureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_parquet("samples.parquet", TABLE)
    monkeypatch.setattr(files, "WHOLE_BYTES", 0)
    azure.proxy.requests.clear()
    assert folder.read_parquet("samples.parquet", ["score"]).equals(TABLE.select(["score"]))
    assert azure.proxy.requests["GET"] > 1


def test_a_file_is_fetched_in_parallel_chunks(
    azure: AzureStore, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 1_000_000)
    folder.write_bytes("model.safetensors", LARGE)
    (listed,) = folder.list_facts()
    folder.fetch(listed, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == LARGE
    assert azure.proxy.requests["GET"] > 10


def test_a_file_that_is_replaced_during_its_download_fails_at_once(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_bytes("model.safetensors", LARGE)
    (listed,) = folder.list_facts()
    read = files._read_chunk

    def replace_and_read(*chunk: Any) -> bytes | None:
        folder.write_bytes("model.safetensors", LARGE[::-1])
        return read(*chunk)

    monkeypatch.setattr(files, "_read_chunk", replace_and_read)
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"it was replaced during the download\. Fix: rerun when nothing"):
        folder.fetch(listed, tmp_path / "model.safetensors")
    assert time.monotonic() - began < 10
    assert not (tmp_path / "model.safetensors").exists()


def test_a_wrong_key_fails_at_once_with_azures_variables(azure: AzureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmcgd3Jvbmcgd3Jvbmc=")
    folder = open_folder(azure.uri("run"))
    uses: tuple[Callable[[], object], ...] = (
        folder.check_writable,
        folder.list_files,
        folder.exists,
        lambda: folder.read_bytes("a"),
        lambda: folder.delete("a"),
    )
    for use in uses:
        began = time.monotonic()
        with pytest.raises(
            StorageError, match=r"the store refuses it.*Fix: check AZURE_STORAGE_ACCOUNT_NAME and the"
        ) as e:
            use()
        assert time.monotonic() - began < 10
        assert "d3Jvbmc" not in str(e.value)


def test_a_missing_permission_fails_at_once_without_showing_the_token(
    azure: AzureStore, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("a", "text")
    token = sas_token("rl")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", token)
    reader = open_folder(folder.uri)
    assert reader.list_files() == ["a"]
    assert reader.read_text("a") == "text"
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"the store refuses it.*Fix: check AZURE_STORAGE_ACCOUNT_NAME") as refusal:
        reader.check_writable()  # Azurite answers 500 to every deletion with a SAS token
    assert time.monotonic() - began < 10
    assert "sig" not in str(refusal.value)
    assert folder.read_text("a") == "text"


def test_a_container_that_is_not_there_fails_at_once_with_the_fix(azure: AzureStore) -> None:
    folder = open_folder(azure.uri("run").replace("az://container/", "az://no-such-container/"))
    for use in (folder.check_writable, folder.list_files, folder.exists, lambda: folder.delete("a")):
        began = time.monotonic()
        with pytest.raises(
            StorageError, match=r"there is no such container \(.*\)\. Fix: create it, or correct its name"
        ):
            use()
        assert time.monotonic() - began < 10
    with pytest.raises(StorageError, match="there is no such file, folder or bucket"):
        folder.read_bytes("a")


def test_patience_ends_with_a_sentence(azure: AzureStore, folder: Folder) -> None:
    azure.server.wait_until_saved(azure.container)
    azure.server.kill()
    try:
        with pytest.raises(StoreUnavailableError) as failure:
            folder.with_retry(1).write_text("run.json", "{}")
    finally:
        azure.server.start()
    assert "Can't write az://container/" in str(failure.value)
    assert "Fix: check the network and the store's endpoint; rerun the command to resume" in str(failure.value)
    assert ACCOUNT not in str(failure.value)


def test_without_credentials_the_reason_names_them(azure: AzureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", "http://127.0.0.1:1/no-identity-service")
    with pytest.raises(
        StoreUnavailableError, match="no credentials in the environment, and no token from the identity"
    ):
        open_folder(azure.uri("run")).with_retry(0).list_files()


def test_a_recursive_listing_and_a_missing_folder(folder: Folder) -> None:
    folder.write_text("a/b/c", "x")
    listed = folder.filesystem.get_file_info(pa.fs.FileSelector(folder.path, recursive=True))
    assert [info.path for info in listed] == [f"{folder.path}/a/b/c"]
    with pytest.raises(FileNotFoundError):
        folder.filesystem.get_file_info(pa.fs.FileSelector(f"{folder.path}/none"))


def test_a_folder_of_many_files_is_deleted(folder: Folder) -> None:
    for number in range(300):  # more than one batch
        folder.write_bytes(f"many/{number}", b"")
    folder.delete_folder("many")
    assert not folder.exists("many")


@pytest.mark.slow
def test_a_lease_keeps_a_second_driver_away_until_it_runs_out(folder: Folder) -> None:
    said: list[str] = []
    with acquire_lease(folder, said.append, QUICK):
        held = json.loads(folder.read_text(LEASE_FILE))
        folder.write_text(LEASE_FILE, json.dumps(held))
        with (
            pytest.raises(OutputLockedError, match="is locked by another driver"),
            acquire_lease(folder, said.append, QUICK),
        ):
            pass
    folder.write_text(LEASE_FILE, json.dumps({**held, "machine": "another", "host": "node-7"}))
    with acquire_lease(folder, said.append, QUICK):
        assert json.loads(folder.read_text(LEASE_FILE))["machine"] == held["machine"]
