"""`ray job submit` on a real Ray head that asks for a token: stopped in the middle, submitted again, secrets kept."""

import asyncio
import json
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow.dataset as pads
import pytest
from aiohttp import web

from tests.cluster.job_cluster import PATIENCE_SECONDS, JobCluster, job_cluster
from tests.deployment import ROOT
from tests.scripted_api import ScriptedApi, chat, failure, serving

pytestmark = pytest.mark.long

KEY_ENV, KEY = "SAFECHAIN_TEST_JOB_KEY", "sk-secret-of-the-job-0815"
HUB_TOKEN = "hf_secret_of_the_job_4711"
ROWS = 60
ANSWERS_BEFORE_THE_STOP = 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[JobCluster]:
    with job_cluster(**{KEY_ENV: KEY, "HF_TOKEN": HUB_TOKEN}) as started:
        yield started


def submit(cluster: JobCluster, api: ScriptedApi, output: Path, *more: str) -> Any:
    job = ["python", "jobs/evaluate.py", "--model", "openai:model-1", "--base-url", api.url]
    job += ["--set", f"model.api_key_env={KEY_ENV}", "--dataset", "quickstart", "--judge", "refusal-match"]
    job += ["--temperature", "0", "--set", "resources.block_rows=4", "--set", "model.api.max_concurrent=8"]
    job += ["--output", str(output)]
    return cluster.submit("--working-dir", str(ROOT), *more, "--", *job)


def sample_ids(output: Path) -> list[str]:
    files = [str(path) for path in output.glob("samples/[!._]*.parquet")]
    return pads.dataset(files).to_table(["sample_id"])["sample_id"].to_pylist() if files else []


def tries(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((output / "run.json").read_text())["tries"]
    return found


def test_a_wrong_token_is_refused(cluster: JobCluster) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        cluster.get("/api/jobs/", token="0" * 64)
    assert refused.value.code in (401, 403)


def test_a_job_stopped_in_the_middle_ends_cleanly_and_goes_on_when_submitted_again(
    cluster: JobCluster, tmp_path: Path
) -> None:
    go_on = Event()

    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        while sum(api.paid.values()) >= ANSWERS_BEFORE_THE_STOP and not go_on.is_set():
            await asyncio.sleep(0.05)
        return chat("I can't help with that.")

    with serving(respond) as api:
        first = submit(cluster, api, tmp_path, "--submission-id", "first", "--no-wait")
        assert first.returncode == 0, first.stdout + first.stderr
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(sample_ids(tmp_path)) < ANSWERS_BEFORE_THE_STOP // 2:
            info = cluster.get("/api/jobs/first")
            assert info["status"] in ("PENDING", "RUNNING"), info
            assert time.monotonic() < deadline, info
            time.sleep(0.2)
        assert any("Replica" in name for name in cluster.processes())

        stopped = cluster.ray("job", "stop", "first")

        assert cluster.get("/api/jobs/first")["status"] == "STOPPED", stopped.stdout + stopped.stderr
        assert [one["status"] for one in tries(tmp_path)] == ["interrupted"]
        while any("Replica" in name for name in cluster.processes()):
            assert time.monotonic() < deadline, cluster.processes()
            time.sleep(0.2)
        kept = len(sample_ids(tmp_path))
        assert ANSWERS_BEFORE_THE_STOP // 2 <= kept < ROWS

        go_on.set()
        second = submit(cluster, api, tmp_path, "--submission-id", "second")

    assert second.returncode == 0, second.stdout + second.stderr
    ids = sample_ids(tmp_path)
    assert len(ids) == len(set(ids)) == ROWS
    assert [one["status"] for one in tries(tmp_path)] == ["interrupted", "done"]
    assert tries(tmp_path)[1]["rows_found"] == kept
    assert f"{ROWS}/{ROWS} rows (100%)" in second.stdout
    assert "\x1b[2K" not in second.stdout  # no live display where there is no terminal
    assert json.loads((tmp_path / "run.json").read_text())["git_revision"] is None, "not the uploaded copy"

    assert (tmp_path / "report.html").exists()
    assert leaks(cluster, tmp_path, second.stdout + second.stderr) == []


def test_a_sweep_as_a_job_leaves_no_secret_though_a_provider_says_it(cluster: JobCluster, tmp_path: Path) -> None:
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        if body["model"] == "model-2":
            return failure(401, f"{request.headers['Authorization']} is no key of ours, {KEY} is wrong")
        return chat("I can't help with that.")

    with serving(respond) as api:
        how = {"base_url": api.url, "api_key_env": KEY_ENV}
        sweep = {
            "models": [{"name": "openai:model-1", **how}, {"name": "openai:model-2", **how}],
            "datasets": [{"name": "quickstart", "limit": 4}],
            "judges": ["refusal-match"],
            "output": str(tmp_path / "sweep"),
        }
        (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
        job = ("python", "jobs/sweep.py", "--config", str(tmp_path / "sweep.yaml"))
        done = cluster.submit("--working-dir", str(ROOT), "--", *job)

    assert done.returncode == 1, "model-2 was refused"
    assert len(sample_ids(tmp_path / "sweep" / "model-1")) == 4, done.stdout
    assert KEY_ENV in (tmp_path / "sweep" / "sweep.json").read_text()
    assert (tmp_path / "sweep" / "report.html").exists()
    assert leaks(cluster, tmp_path, done.stdout + done.stderr) == []


def leaks(cluster: JobCluster, output: Path, told: str) -> list[str]:
    """Where a secret stands: the files of a run, all logs of the cluster, what Ray tells of jobs, or a terminal."""
    places = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} | cluster.logs()
    places |= {Path("ray job list"): json.dumps(cluster.get("/api/jobs/")).encode(), Path("terminal"): told.encode()}
    assert len(places) > 10
    secrets = (cluster.token, KEY, HUB_TOKEN)
    return [str(path) for path, content in places.items() if any(secret.encode() in content for secret in secrets)]
