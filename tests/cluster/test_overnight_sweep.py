"""The paper's twelve models swept by `ray job submit` on GPU nodes that come from nothing, into a real S3 server.

The GPUs are logical ones, as many as the models would take; the weights are the demo model's, the engines vLLM's. Three
models come through their API, from a server here. On the way a node and the driver are killed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from aiohttp import web
from deployment import ROOT
from job_cluster import PATIENCE_SECONDS, JobCluster, job_cluster
from processes import marked_processes
from s3_server import Store
from scripted_api import ScriptedApi, chat, serving

from safechain_ray.pipelines.read_status import read_status
from safechain_ray.pipelines.status import RunStatus
from safechain_ray.storage import Folder, open_folder

pytestmark = pytest.mark.timeout(1200)

JOB = Path(__file__).with_name("demo_weights_sweep.py")
KEY_ENV = "SAFECHAIN_TEST_SWEEP_KEY"
BY_API = ("R1", "Gemini-Thinking", "Kimi-k1.5")
ROWS = 4 * 3

LOOK_SECONDS = 4.0
"""Each look is some thirty requests: the store of a small machine does little else if it is asked all the time."""

NODES = {
    "four_gpus": {
        "resources": {"CPU": 8, "GPU": 4, "object_store_memory": 200_000_000},
        "max_workers": 2,
    }
}


@pytest.fixture(scope="module")
def api() -> Iterator[ScriptedApi]:
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        return chat("I can't help with that.", reasoning_content="They ask for harm.")

    with serving(respond) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(store: Store) -> Iterator[JobCluster]:
    with job_cluster(NODES, **store.environment, **{KEY_ENV: "key", "OMP_NUM_THREADS": "1"}) as started:
        yield started


def paper_models() -> list[str]:
    models: list[str] = yaml.safe_load((ROOT / "configs/paper/main_table.yaml").read_text())["models"]
    return models


class Night:
    """The sweep, as its user sees it from outside."""

    def __init__(self, cluster: JobCluster, store: Store, api: ScriptedApi, folder: Path) -> None:
        self.cluster = cluster
        self.models = paper_models()
        self._store = store
        self._uri = f"s3://{store.bucket}/night"
        self._config = folder / "sweep.json"
        how = {"base_url": api.url, "api_key_env": KEY_ENV}
        sweep = {
            "models": [{"name": name, **(how if name in BY_API else {})} for name in self.models],
            "datasets": [{"name": "quickstart", "limit": 4}],
            "samples": 3,
            "sampling": {"temperature": 0.6, "top_p": 0.95, "max_tokens": 200},
            "judges": ["demo-guard", "refusal-match"],
            "output": self._uri,
            "resources": {
                "autoscaler_config": str(cluster.autoscaler_config),
                "replicas": 1,
                "max_running": 8,
                "block_rows": 2,
            },
        }
        self._config.write_text(json.dumps(sweep))

    @property
    def folder(self) -> Folder:
        return open_folder(self._store.uri("night"))

    def submit(self, name: str, *how: str) -> str:
        # Without an upload: nodes on one machine share its folder, and each would unpack it under the others' feet.
        command = ("job", "submit", "--submission-id", name, *how)
        done = self.cluster.ray(*command, "--", "python", str(JOB), "--config", str(self._config), "--at-once", "4")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def job(self, name: str) -> str:
        status: str = self.cluster.get(f"/api/jobs/{name}")["status"]
        return status

    def status_elsewhere(self) -> list[dict[str, Any]]:
        """What `safechain-ray status` tells, in a process that knows the bucket and no Ray."""
        command = [sys.executable, "-m", "safechain_ray.cli", "status", self._uri, "--json"]
        environment = {**os.environ, **self._store.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        models: list[dict[str, Any]] = json.loads(done.stdout)["models"]
        return models

    def until(self, reached: Callable[[Sequence[RunStatus]], bool], job: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (self.folder.exists("sweep.json") and reached(self.status())):
            assert self.job(job) in ("PENDING", "RUNNING"), self.logs(job)
            assert time.monotonic() < deadline, self.logs(job)
            time.sleep(LOOK_SECONDS)

    def status(self) -> Sequence[RunStatus]:
        return read_status(self.folder.uri).models

    def logs(self, job: str) -> str:
        logs: str = self.cluster.get(f"/api/jobs/{job}/logs")["logs"]
        return logs

    def sample_ids(self, model: str) -> list[str]:
        samples = self.folder / model / "samples"
        tables = [samples.read_parquet(name, ["sample_id"]) for name in samples.list_files(".parquet")]
        return [sample_id for table in tables for sample_id in table["sample_id"].to_pylist()]

    def gpu_nodes(self) -> list[int]:
        """The raylets of all nodes but the head."""
        raylets = [pid for pid, name in marked_processes(self.cluster.environment).items() if "raylet/raylet" in name]
        return [
            pid for pid in raylets if not psutil.Process(pid).environ()["RAY_NODE_TYPE_NAME"].startswith("ray.head")
        ]


def finished(models: Sequence[RunStatus]) -> int:
    return sum(model.state == "done" for model in models)


def rows(models: Sequence[RunStatus]) -> int:
    return sum(model.rows or 0 for model in models)


def with_all_below(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def engines(node: int) -> int:
    """How many vLLM engines a node has."""
    return sum(process.name().startswith("VLLM::Engine") for process in with_all_below(node))


def test_twelve_models_are_complete_in_the_morning_whatever_died_in_the_night(
    cluster: JobCluster, store: Store, api: ScriptedApi, tmp_path: Path
) -> None:
    night = Night(cluster, store, api, tmp_path)
    assert len(night.models) == 12
    assert night.gpu_nodes() == []

    night.submit("evening", "--no-wait")
    night.until(lambda models: rows([model for model in models if model.name not in BY_API]) >= 4, "evening")
    nodes = night.gpu_nodes()
    assert len(nodes) == 2
    dies = max(nodes, key=engines)
    assert engines(dies) > 0
    for process in with_all_below(dies):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    night.until(lambda models: bool(set(night.gpu_nodes()) - set(nodes)), "evening")
    night.until(lambda models: finished(models) >= 6, "evening")
    seen = night.status_elsewhere()
    assert [model["name"] for model in seen] == night.models
    assert {model["state"] for model in seen} > {"done"}

    for pid, name in marked_processes(cluster.environment).items():
        if name.startswith("python") and JOB.name in name:
            os.kill(pid, signal.SIGKILL)
    give_up = time.monotonic() + PATIENCE_SECONDS
    while night.job("evening") != "FAILED":
        assert time.monotonic() < give_up, night.logs("evening")
        time.sleep(0.5)

    assert "4 GPUs is gone." in night.logs("evening")

    told = night.submit("again")

    assert "of 12 models have samples to do" in told
    assert finished(night.status()) == 12
    for model in night.models:
        ids = night.sample_ids(model)
        assert len(ids) == len(set(ids)) == ROWS, model
    leaderboard = night.folder.read_parquet("leaderboard.parquet").to_pandas()
    assert sorted(leaderboard["model"].unique()) == sorted(night.models)
    assert (leaderboard["rows"] == leaderboard["rows_expected"]).all()
    assert (leaderboard["missing"] == 0).all()
    assert night.folder.exists("report.html")

    deadline = time.monotonic() + PATIENCE_SECONDS
    while night.gpu_nodes():
        assert time.monotonic() < deadline, cluster.processes()
        time.sleep(0.5)
