"""run.json: all that is needed to do a run again, what became of each try, and no secret."""

import json
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.cluster.planner import ClusterView, Node, Plan, PlannedPool
from safechain_ray.cluster.progress import PoolProgress, Stage
from safechain_ray.commands.status import run_status
from safechain_ray.config import JudgeConfig
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.summary import summarise
from safechain_ray.runs import record
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.pools import pool_needs
from safechain_ray.runs.progress import Snapshot, Throughput
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import resolve, resolve_judge
from safechain_ray.runs.run_file import RunFile, read_run_file
from safechain_ray.storage import Folder, open_folder
from safechain_ray.types import Setting, samples_table
from tests.unit.runs.small_runs import config, sample

VIEW = ClusterView((Node("laptop", 16, 0, 23.456),))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(open_folder(str(tmp_path / "run")))


def opened(folder: RunFolder, **keys: Any) -> RunRecord:
    settings = config(**keys)
    return RunRecord.opened(folder, settings, resolve(settings))


def start(record: RunRecord, rows_found: int = 0) -> None:
    settings = config()
    needs = pool_needs(resolve(settings), settings.resources, VIEW)
    record.started(Plan((tuple(PlannedPool(each, 1) for each in needs),)), VIEW, rows_found)


def stored(folder: RunFolder) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(folder.folder.read_text("run.json"))
    return run


def test_a_new_runs_record_stands_before_anything_starts(folder: RunFolder):
    opened(folder)
    run = stored(folder)
    assert run["rows"] == 9
    assert run["config"]["samples"] == 3
    assert run["datasets"]["quickstart"]["prompts"] == 3
    assert run["tries"] == []


def test_a_try_tells_its_plan_its_hardware_and_how_it_ended(folder: RunFolder):
    record = opened(folder)
    start(record)
    assert stored(folder)["tries"][0]["status"] == "running"
    record.ended("done", {"model": PoolProgress(1, Counter(rows_out=9, engine_restarts=1))})
    (only,) = stored(folder)["tries"]
    assert (only["status"], only["rows_found"]) == ("done", 0)
    assert only["stages"] == [
        [
            {"pool": "model", "device": "cpu", "replicas": 1},
            {"pool": "demo-guard", "device": "cpu", "replicas": 1},
        ]
    ]
    assert only["hardware"] == [{"node": "laptop", "cpus": 16, "gpus": 0, "memory_gigabytes": 23.5}]
    assert only["pools"] == {"model": {"rows_out": 9, "engine_restarts": 1}}
    assert only["ended"] >= only["started"]
    assert {"python", "ray", "pyarrow"} <= only["versions"].keys()


def test_an_error_that_quotes_a_secret_is_stored_without_it(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    """The end of an engine's log may hold a token, and is part of the error."""
    monkeypatch.setenv("HF_TOKEN", "hf_canaryCanaryCanary123")
    record = opened(folder)
    start(record)
    record.ended("failed: 401 for Bearer hf_canaryCanaryCanary123", {})
    assert "canaryCanary" not in folder.folder.read_text("run.json")
    assert stored(folder)["tries"][0]["status"].startswith("failed: 401 for Bearer ")


def test_what_the_tries_paid_to_providers_is_summed_and_absent_where_nobody_was_paid(folder: RunFolder):
    record = opened(folder)
    start(record)
    record.ended("done", {"model": PoolProgress(1, Counter(rows_out=9))})
    assert "cost_dollars" not in stored(folder)
    for micro in (1_500_000, 250_000):
        start(record)
        record.ended("done", {"model": PoolProgress(1, Counter(requests=9, retries=2, cost_microdollars=micro))})
    assert stored(folder)["cost_dollars"] == 1.75
    assert stored(folder)["tries"][-1]["pools"]["model"]["retries"] == 2


def test_a_try_whose_driver_was_killed_is_cut_off_when_the_next_one_starts(folder: RunFolder):
    start(opened(folder))
    start(opened(folder), rows_found=4)
    assert [(each["status"], each["rows_found"]) for each in stored(folder)["tries"]] == [
        ("cut off", 0),
        ("running", 4),
    ]


def snapshot(committed: int, **fields: Any) -> Snapshot:
    stage = Stage(("model", "demo-guard"), total=9, done_before=3, found={"rows": 3, "ok": 2, "error": 1})
    return replace(Snapshot(stage, {"rows": committed, "ok": committed, "unsafe": 1}, {}, 12.34), **fields)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The one element is the time that the record sees."""
    now = [1000.0]
    monkeypatch.setattr(record.time, "monotonic", lambda: now[0])
    return now


def test_a_run_at_work_notes_how_far_it_is_for_whoever_reads_its_folder(folder: RunFolder, clock: list[float]):
    record = opened(folder)
    start(record, rows_found=3)
    pools = {"model": PoolProgress(2, Counter(rows_in=6, rows_out=4))}
    record.progressed(pools, snapshot(4, pools=pools).progress_record(Throughput(lambda: clock[0])))
    run = stored(folder)
    assert run["tries"][-1]["live"] == {
        "stage": 1,
        "stages": 1,
        "pools": ["model", "demo-guard"],
        "total": 9,
        "done_before": 3,
        "committed": 4,
        "counts": {"rows": 7, "ok": 6, "error": 1, "unsafe": 1},
        "ready": {"model": 2},
        "seconds": 12.3,
        "tokens_per_second": None,
        "rows_per_second": None,
    }
    assert run["updated"] >= run["tries"][-1]["started"]


def test_what_a_run_noted_reads_as_its_status(folder: RunFolder, clock: list[float]):
    record = opened(folder)
    start(record, rows_found=3)
    assert run_status(read_run_file(folder.folder), datetime.now(UTC)).state == "starting"
    record.progressed({}, snapshot(4).progress_record(Throughput(lambda: clock[0])))
    found = run_status(read_run_file(folder.folder), datetime.now(UTC))
    assert (found.name, found.state, found.rows, found.total) == ("demo-reasoner", "running", 7, 9)
    assert found.counts["ok"] == 6


@pytest.mark.parametrize(("is_local", "seconds"), [(True, 5.0), (False, 15.0)])
def test_progress_is_written_every_five_seconds_and_to_an_object_store_every_fifteen(
    folder: RunFolder, clock: list[float], monkeypatch: pytest.MonkeyPatch, is_local: bool, seconds: float
):
    monkeypatch.setattr(Folder, "is_local", is_local)
    monkeypatch.setattr(Folder, "write_bytes", partialmethod(_write_here, Path(folder.folder.path)))
    record = opened(folder)
    start(record)
    for committed, passed in enumerate((0.0, seconds - 0.1, 0.2)):
        clock[0] += passed
        record.progressed({}, snapshot(committed).progress_record(Throughput(lambda: clock[0])))
        assert stored(folder)["tries"][-1]["live"]["committed"] == (0 if committed < 2 else 2)


def _write_here(self: Folder, place: Path, name: str, data: bytes) -> None:
    place.mkdir(exist_ok=True)
    (place / name).write_bytes(data)


def test_the_end_of_a_try_keeps_what_was_noted_last_even_if_it_was_not_yet_written(
    folder: RunFolder, clock: list[float]
):
    record = opened(folder)
    start(record)
    for committed in (1, 6):
        record.progressed({}, snapshot(committed).progress_record(Throughput(lambda: clock[0])))
    record.ended("done", {})
    assert stored(folder)["tries"][-1]["live"]["committed"] == 6


def test_a_new_try_does_not_inherit_what_the_last_one_noted(folder: RunFolder, clock: list[float]):
    record = opened(folder)
    start(record)
    record.progressed({}, snapshot(4).progress_record(Throughput(lambda: clock[0])))
    start(record)
    record.ended("interrupted", {})
    assert "live" not in stored(folder)["tries"][-1]


def test_a_folder_without_results_is_free_for_another_run(folder: RunFolder):
    opened(folder)
    opened(folder, samples=2)
    assert stored(folder)["identity"]["settings"][0]["samples"] == 2


def test_the_same_folder_for_another_run_is_refused_and_left_as_it_was(folder: RunFolder):
    opened(folder)
    folder.samples.write_parquet("a.parquet", samples_table([sample("one")]))
    before = stored(folder)
    with pytest.raises(RunConflictError, match=r"settings\.0\.samples: 3 -> 2"):
        opened(folder, samples=2)
    assert stored(folder) == before


def test_a_judge_of_the_run_itself_is_not_removed_and_the_fix_is_another_run(folder: RunFolder):
    run = opened(folder, judges=["refusal-match"])
    own = r"is a judge of the run itself: .* Fix: evaluate again without this judge and with another --output"
    with pytest.raises(InputError, match=rf"^refusal-match {own}\.$"):
        run.remove_judge("refusal-match")
    run.judge_added(resolve_judge(JudgeConfig(name="demo-guard")), ("response",))
    with pytest.raises(InputError, match=rf"^refusal-match {own}, or name one of demo-guard\.$"):
        run.remove_judge("refusal-match")


def test_a_finished_run_tells_its_outcomes_and_tokens(folder: RunFolder):
    setting = Setting(dataset="d")
    rows = [sample("one"), sample("two", "error")]
    counts = count_samples([replace(row, setting_id=setting.setting_id) for row in rows])
    opened(folder).measured(summarise(counts, [setting], []).settings)
    run = stored(folder)
    assert run["outcomes"] == {"ok": 1, "truncated": 0, "blocked": 0, "error": 1}
    assert run["tokens"] == {"prompt": 2, "thought": 2, "answer": 2}


def test_notes_and_the_end_of_a_failed_try_wait_for_no_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))
    silent = open_folder("s3://key:secret@bucket/run?endpoint_override=127.0.0.1:9&scheme=http").with_retry(600)
    attempt = {"started": "2026-11-21T03:00:00+00:00", "status": "running"}
    run = {"identity": {"model": {"name": "m"}}, "tries": [attempt]}
    record = RunRecord(RunFolder(silent), RunFile.model_validate(run))
    record.progressed({}, snapshot(4).progress_record(Throughput(lambda: 0.0)))
    assert record.store_is_silent
    record.progressed({}, snapshot(4).progress_record(Throughput(lambda: 0.0)))
    record.ended("failed: the store did not answer", {})


def test_secrets_of_a_uri_are_not_written(folder: RunFolder):
    opened(folder, output="s3://KEY:SECRET@bucket/run?token=SECRET")
    assert "SECRET" not in folder.folder.read_text("run.json")
    assert stored(folder)["config"]["output"].startswith("s3://***@bucket/run")
