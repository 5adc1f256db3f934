"""Runs into a real object store: an outage pauses them, a dead driver's place is taken, a second driver is refused."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import pytest

from safechain_ray.commands.judge import add_judges
from safechain_ray.config import JudgingConfig, read_config_as
from safechain_ray.errors import OutputLockedError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.html.write import write_report
from safechain_ray.runs.folder import read_metrics
from safechain_ray.runs.progress import Snapshot
from safechain_ray.storage import Folder, open_folder
from safechain_ray.storage.lease import LEASE_FILE
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Request
from tests.cluster.scripted_cli import ANSWERS
from tests.cluster.scripted_runs import GUARD, Runner, guard_script
from tests.gcs_server import google_store
from tests.processes import python_path
from tests.s3_server import Store

pytestmark = pytest.mark.long

ROWS = 300


def sample_ids(run: Folder) -> list[str]:
    samples = run / "samples"
    tables = [samples.read_parquet(name, ["sample_id"]) for name in samples.list_files(".parquet")]
    return [sample_id for table in tables for sample_id in table["sample_id"].to_pylist()]


def without_times(metrics: RunMetrics) -> list[dict[str, Any]]:
    settings = [setting.model_dump() for setting in metrics.settings]
    for setting in settings:
        del setting["seconds"]
    return settings


def test_an_outage_in_the_middle_pauses_a_run_which_then_ends_as_if_nothing_had_been(run: Runner, store: Store) -> None:
    def refuse_some(request: Request) -> str:
        return f"</think>\n\n{'Sure.' if len(request.prompt) % 3 else 'I cannot help with that.'}"

    greedy = {"sampling.temperature": 0.0, "samples": 1, "vary": {"top_k": [1, 2, 3, 4, 5]}}
    undisturbed = run(Script(answer=refuse_some), **greedy)
    outages: list[Thread] = []

    def break_down_once(snapshot: Snapshot) -> None:
        if not outages and snapshot.committed.get("rows", 0) >= ROWS / 4:
            store.proxy.mode = "unavailable"
            outages.append(Thread(target=heal_when_it_is_told))
            outages[0].start()

    def told() -> list[str]:
        return [sentence for sentence in run.reporter.sentences if "The store" in sentence]

    def heal_when_it_is_told() -> None:
        deadline = time.monotonic() + 120
        while not told() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        store.proxy.mode = "passes"

    run.on_update = break_down_once
    output = store.uri("runs/outage")
    done = run(Script(answer=refuse_some, seconds=0.2), **greedy, **{"output": output, "resources.max_running": 8})
    outages[0].join()

    assert done.committed == ROWS
    assert store.proxy.faults > 0
    assert re.search("has not answered .* for up to [1-9][0-9.]* minutes", told()[0])
    assert "answers again" in told()[-1]
    folder = open_folder(output)
    ids = sample_ids(folder)
    assert len(ids) == len(set(ids)) == ROWS
    assert without_times(done.metrics) == without_times(undisturbed.metrics)
    assert 0 < done.metrics.settings[0].judges[1].safe_at_1.value < 1
    write_report(folder)
    assert folder.read_bytes("report.html").startswith(b"<!doctype html>")
    assert not folder.exists(LEASE_FILE)


def test_googles_store_killed_in_the_middle_and_back_ends_as_if_nothing_had_been_and_takes_a_judge_later(
    run: Runner,
) -> None:
    few = {"datasets": [{"name": "quickstart", "limit": 30}], "resources.max_running": 8, "judges": ["refusal-match"]}
    with google_store() as google:
        returns: list[Timer] = []

        def kill_once(snapshot: Snapshot) -> None:
            if not returns and snapshot.committed.get("rows", 0) >= 30:
                google.kill()
                returns.append(Timer(10, google.start))
                returns[0].start()

        run.on_update = kill_once
        output = google.uri("runs/outage") + "&retry_limit_seconds=2"
        done = run(Script(seconds=0.2), **few, output=output)
        returns[0].join()
        ids = sample_ids(open_folder(output))
        assert len(ids) == len(set(ids)) == done.committed == 150
        judging = read_config_as(JudgingConfig, None, {"judges": ["demo-guard"], "resources.ray_address": run.address})
        add_judges(output, judging, run.reporter, ScriptedEngines({GUARD: guard_script()}))
        (setting,) = read_metrics(output).settings
        assert [judge.judge for judge in setting.judges] == ["refusal-match", "demo-guard"]


def test_a_driver_whose_lease_another_took_stops_and_writes_nothing_more(run: Runner) -> None:
    folder = open_folder(str(run.output))

    def take_over_once(snapshot: Snapshot) -> None:
        lease = json.loads(folder.read_text(LEASE_FILE))
        if snapshot.committed.get("rows", 0) and lease["token"] != "another":
            folder.write_text(LEASE_FILE, json.dumps({**lease, "token": "another", "host": "node-8"}))

    run.on_update = take_over_once
    with pytest.raises(OutputLockedError, match="on node-8"):
        run(Script(seconds=2.0), **{"resources.max_running": 2})

    assert json.loads(folder.read_text(LEASE_FILE))["token"] == "another"
    assert json.loads(folder.read_text("run.json"))["tries"][-1]["status"] == "running"
    assert len(sample_ids(folder)) < ROWS


def start(
    store: Store, output: str, log: Path, program: str = "tests.cluster.scripted_cli", seconds: float = 0.1
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", program, str(seconds), "evaluate", "--model", "demo-reasoner"]
    command += ["--dataset", "quickstart", "--judge", "demo-guard", "--samples", "5", "--temperature", "1"]
    command += ["--set", "resources.max_running=16", "--set", "resources.block_rows=4", "--output", output]
    environment = os.environ | store.environment | {"PYTHONPATH": python_path(), ANSWERS: str(log)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(driver: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = driver.communicate(timeout=240)
    return driver.returncode, stderr


def wait_for_rows(folder: Folder, rows: int, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while len(sample_ids(folder)) < rows:
        assert driver.poll() is None, finish(driver)
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.fixture
def driver_elsewhere(store: Store, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """At five seconds a request it takes minutes, so that it is still at work when the second one comes."""
    driver = start(
        store, "s3://bucket/runs/shared", tmp_path / "answers", "tests.cluster.scripted_cli_elsewhere", seconds=5
    )
    yield driver
    driver.kill()
    driver.communicate()


def test_a_second_driver_is_refused_while_the_first_lives_and_goes_on_when_it_is_killed(
    store: Store, tmp_path: Path, driver_elsewhere: subprocess.Popen[str]
) -> None:
    folder = open_folder(store.uri("runs/shared"))
    wait_for_rows(folder, 8, driver_elsewhere)

    code, stderr = finish(start(store, "s3://bucket/runs/shared", tmp_path / "answers"))

    assert code == 1
    assert "s3://bucket/runs/shared is locked by another driver" in stderr
    assert f"process {driver_elsewhere.pid} on " in stderr
    assert "Traceback" not in stderr
    assert driver_elsewhere.poll() is None

    driver_elsewhere.kill()
    code, stderr = finish(start(store, "s3://bucket/runs/shared", tmp_path / "answers"))

    assert code == 0, stderr
    assert "If it does not renew its lease for 6 seconds, this driver takes over" in stderr
    ids = sample_ids(folder)
    assert len(ids) == len(set(ids)) == ROWS
    assert [one["status"] for one in json.loads(folder.read_text("run.json"))["tries"]] == ["cut off", "done"]
