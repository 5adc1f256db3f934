"""gs:// on a real server of its API: outages, concurrent threads, missing files."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from uuid import uuid4

import pyarrow as pa
import pytest

from safechain_ray.errors import OutputLockedError, StorageError, StoreUnavailableError
from safechain_ray.storage import Folder, acquire_lease, files, open_folder
from safechain_ray.storage.lease import LEASE_FILE, Timing
from tests.gcs_server import BUCKET, GoogleServer
from tests.processes import python_path

QUICK = Timing(lasts=4.0, renew_interval=0.3, confirm_delay=0.5, local_confirm_delay=0.3)
TABLE = pa.table({"sample_id": [f"s{number}" for number in range(1000)], "score": [0.5] * 1000})


@pytest.fixture
def folder(google: GoogleServer) -> Folder:
    """Google's client tries again by itself for a second; ours for a minute."""
    return open_folder(f"{google.uri(uuid4().hex)}&retry_limit_seconds=1").with_retry(60)


@pytest.mark.slow
def test_every_operation_outlasts_a_server_that_is_killed_and_comes_back(google: GoogleServer, folder: Folder) -> None:
    folder.write_text("verdicts/guard/a", "text")
    operations: tuple[Callable[[], object], ...] = (
        lambda: folder.read_text("verdicts/guard/a"),
        lambda: folder.exists("b"),
        lambda: folder.write_parquet("samples.parquet", TABLE),
        lambda: folder.read_parquet("samples.parquet"),
        lambda: (folder / "verdicts").list_folders(),
        lambda: folder.move("samples.parquet", "moved.parquet"),
        lambda: folder.delete_folder("verdicts"),
        lambda: folder.list_files(),
    )
    found = []
    for operation in operations:
        google.kill()
        starting = Timer(0.5, google.start)
        starting.start()
        found.append(operation())
        starting.join()
    assert found == ["text", False, None, TABLE, ["guard"], None, None, ["moved.parquet"]]


READ_THROUGH_A_THREAD = """
import sys
from tests.fault_proxy import proxied
from safechain_ray.storage import files, open_folder

port, uri, files.WHOLE_BYTES = sys.argv[1], sys.argv[2], int(sys.argv[3])
with proxied(int(port)) as proxy:
    folder = open_folder(uri.replace(f":{port}", f":{proxy.port}"))
    print(folder.read_text("a"), folder.read_parquet("samples.parquet").num_rows)
"""


@pytest.mark.slow
@pytest.mark.parametrize("whole_bytes", [files.WHOLE_BYTES, 0])
def test_other_threads_go_on_while_a_read_waits_for_the_store(
    google: GoogleServer, folder: Folder, whole_bytes: int
) -> None:
    """A driver renews its lease meanwhile. Here one of them passes on all that the store says."""
    folder.write_text("a", "text")
    folder.write_parquet("samples.parquet", TABLE)
    command = [sys.executable, "-c", READ_THROUGH_A_THREAD, str(google.port), folder.uri, str(whole_bytes)]
    environment = {**os.environ, "PYTHONPATH": python_path()}
    reading = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert reading.stdout == "text 1000\n", reading.stderr


def test_patience_ends_with_a_sentence(google: GoogleServer, folder: Folder) -> None:
    google.kill()
    try:
        with pytest.raises(StoreUnavailableError) as failure:
            folder.with_retry(1).write_text("run.json", "{}")
    finally:
        google.start()
    assert f"Can't write gs://***@{BUCKET}/" in str(failure.value)
    assert "UNAVAILABLE: " in str(failure.value)
    assert "Fix: check the network and the store's endpoint; rerun the command to resume" in str(failure.value)
    assert "error_info" not in str(failure.value)


def test_a_bucket_that_is_not_there_fails_at_once(google: GoogleServer) -> None:
    began = time.monotonic()
    with pytest.raises(StorageError, match="there is no such file, folder or bucket"):
        open_folder(google.uri("run").replace(f"@{BUCKET}/", "@no-such-bucket/")).check_writable()
    assert time.monotonic() - began < 10


def test_a_file_is_brought_in_pieces(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 100_000)
    data = bytes(range(256)) * 4_000
    folder.write_bytes("model.safetensors", data)
    (listed,) = folder.list_facts()
    folder.fetch(listed, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == data


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
