"""What becomes of a run whose driver is killed, interrupted, or finds its disk full; each on a local Ray of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from tests.cluster.scripted_cli import ANSWERS
from tests.processes import left_over, marked_environment, python_path

ROWS = 600


def start(output: Path, seconds: float = 0.3, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.cluster.scripted_cli", str(seconds), "evaluate"]
    command += ["--model", "demo-reasoner"]
    command += ["--dataset", "quickstart", "--judge", "demo-guard", "--samples", "10", "--temperature", "1"]
    command += ["--set", "resources.max_running=16", "--set", "resources.block_rows=4", "--output", str(output)]
    environment = {**(environment or os.environ), "PYTHONPATH": python_path(), ANSWERS: f"{output}.answers"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_ctrl_c
    )


def heed_ctrl_c() -> None:
    """Shells start background jobs deaf to SIGINT, and a test run in one would hand that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(driver: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = driver.communicate(timeout=180)
    return driver.returncode, stdout, stderr


def committed(output: Path) -> list[str]:
    """The sample ids that stand in the folder, whatever else is going on."""
    files = [path for path in output.glob("samples/*.parquet") if not path.name.startswith((".", "_"))]
    return [sample_id for path in files for sample_id in pq.read_table(path)["sample_id"].to_pylist()]


def wait_for_rows(output: Path, rows: int, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(committed(output)) < rows:
        assert driver.poll() is None, finish(driver)
        assert time.monotonic() < deadline, f"only {len(committed(output))} rows after two minutes"
        time.sleep(0.1)


@pytest.mark.long
def test_a_driver_killed_twice_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    for share in (1 / 3, 2 / 3):
        driver = start(tmp_path)
        wait_for_rows(tmp_path, int(ROWS * share), driver)
        driver.kill()
        finish(driver)

    code, _, stderr = finish(start(tmp_path))

    assert code == 0, stderr
    ids = committed(tmp_path)
    assert len(ids) == len(set(ids)) == ROWS
    # For each kill: 32 rows in flight in each of two pools (twice max_running), twice as many waiting before the judge
    # and before the commit, and some on their way to the disk.
    not_committed = 3 * 32 * 2 + 32
    done_again = len(Path(f"{tmp_path}.answers").read_text()) - ROWS
    print(f"{done_again} of {ROWS} rows done again after two kills")
    assert done_again <= 2 * not_committed
    tries = json.loads((tmp_path / "run.json").read_text())["tries"]
    assert [one["status"] for one in tries] == ["cut off", "cut off", "done"]
    assert tries[-1]["rows_found"] >= ROWS * 2 / 3


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupted_run_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    environment = marked_environment()
    driver = start(tmp_path, environment=environment)
    wait_for_rows(tmp_path, 50, driver)
    driver.send_signal(number)
    code, _, stderr = finish(driver)

    assert code == 130
    assert "To resume, run:" in stderr
    assert f"--output {tmp_path}" in stderr
    assert "Traceback" not in stderr
    kept = len(committed(tmp_path))
    assert 50 <= kept < ROWS
    assert json.loads((tmp_path / "run.json").read_text())["tries"][-1]["status"] == "interrupted"
    assert left_over(environment) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.long
def test_a_full_disk_ends_the_run_with_the_place_and_the_reason(small_disk: Path) -> None:
    code, _, stderr = finish(start(small_disk, seconds=0.01))

    assert code == 1
    assert "no space left" in stderr.lower()
    assert str(small_disk) in stderr
    assert "Traceback" not in stderr
    whole = pads.dataset([str(path) for path in small_disk.glob("samples/*.parquet")]).to_table()
    assert 0 < whole.num_rows < ROWS


def test_an_output_that_is_no_folder_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    started = time.monotonic()
    code, _, stderr = finish(start(tmp_path / "file" / "run"))
    assert code == 1
    assert "file/run" in stderr
    assert time.monotonic() - started < 20
