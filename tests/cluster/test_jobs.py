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
from deployment import ROOT
from job_cluster import PATIENCE_SECONDS, JobCluster, job_cluster
from scripted_api import ScriptedApi, chat, serving

KEY_ENV, KEY = "SAFECHAIN_TEST_JOB_KEY", "sk-secret-of-the-job-0815"
ROWS = 60
ANSWERS_BEFORE_THE_STOP = 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[JobCluster]:
    with job_cluster(**{KEY_ENV: KEY, "HF_TOKEN": "hf_secret_of_the_job_4711"}) as started:
        yield started


def submit(cluster: JobCluster, api: ScriptedApi, output: Path, *more: str, token: str | None = None) -> Any:
    job = ["python", "jobs/evaluate.py", "--model", "openai:model-1", "--base-url", api.url]
    job += ["--set", f"model.api_key_env={KEY_ENV}", "--dataset", "quickstart", "--judge", "refusal-match"]
    job += ["--temperature", "0", "--set", "resources.block_rows=4", "--set", "model.api.max_concurrent=8"]
    job += ["--no-html", "--output", str(output)]
    return cluster.ray("job", "submit", "--working-dir", str(ROOT), *more, "--", *job, token=token)


def sample_ids(output: Path) -> list[str]:
    files = [str(path) for path in output.glob("samples/[!._]*.parquet")]
    return pads.dataset(files).to_table(["sample_id"])["sample_id"].to_pylist() if files else []


def tries(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((output / "run.json").read_text())["tries"]
    return found


def test_a_wrong_token_is_refused(cluster: JobCluster, tmp_path: Path) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        cluster.get("/api/jobs/", token="0" * 64)
    assert refused.value.code in (401, 403)
    done = cluster.ray("job", "list", token="0" * 64)
    assert done.returncode != 0
    assert "auth" in (done.stdout + done.stderr).lower()


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

    secrets = {cluster.token, KEY, "hf_secret_of_the_job_4711"}
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} | cluster.logs()
    told = json.dumps(cluster.get("/api/jobs/")).encode() + second.stdout.encode() + second.stderr.encode()
    assert len(written) > 10
    for secret in secrets:
        assert secret.encode() not in told
        assert [path for path, content in written.items() if secret.encode() in content] == []
