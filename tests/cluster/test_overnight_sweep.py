"""The paper's twelve models swept by `ray job submit` on GPU nodes that come from nothing, into a real S3 server.

The GPUs are logical ones, as many as the models would take. Engines are vLLM's with the demo weights: in one test those
of the judge and of two small models, in the other those of all models, which keep two cores busy for seven minutes. The
models' weights lie in the bucket and are fetched once. Three models come through their API, from a server here. On the
way a node and the driver are killed.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from safechain_ray.commands.gpu_check.check import title_of
from safechain_ray.commands.status import read_status
from safechain_ray.engines.weights import weights_location
from safechain_ray.storage import Folder, open_folder
from tests.cluster.job_cluster import PATIENCE_SECONDS, JobCluster, job_cluster, kill_node, with_all_below
from tests.deployment import ROOT
from tests.processes import marked_processes
from tests.s3_server import Store
from tests.scripted_api import ScriptedApi, chat, serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

JOB = Path(__file__).with_name("logical_gpu_sweep.py")
KEY_ENV = "SAFECHAIN_TEST_SWEEP_KEY"
BY_API = ("R1", "Gemini-Thinking", "Kimi-k1.5")
ROWS = 4 * 3

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
def hub_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def cluster(store: Store, hub_cache: Path) -> Iterator[JobCluster]:
    usual = {KEY_ENV: "key", "OMP_NUM_THREADS": "1", "HF_HOME": str(hub_cache)}
    with job_cluster(NODES, **store.environment, **usual) as started:
        yield started


@pytest.fixture(scope="module")
def weights(store: Store) -> None:
    """The demo weights in the bucket, as `aws s3 cp --recursive` leaves them."""
    folder = open_folder(store.uri("weights/demo-reasoner"))
    for file in Path(weights_location("package://demo-reasoner")).iterdir():
        folder.write_bytes(file.name, file.read_bytes())


def paper_models() -> list[str]:
    models: list[str] = yaml.safe_load((ROOT / "configs/paper/main_table.yaml").read_text())["models"]
    return models


class Night:
    """The sweep, as its user sees it from outside."""

    def __init__(self, who: str, cluster: JobCluster, store: Store, api: ScriptedApi, folder: Path) -> None:
        self.cluster = cluster
        self.models = paper_models()
        self._who = who
        self._store = store
        self._name = f"night-{who}"
        self._uri = f"s3://{store.bucket}/{self._name}"
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
                "max_running": 4,
                "block_rows": 2,
            },
        }
        self._config.write_text(json.dumps(sweep))

    @property
    def folder(self) -> Folder:
        return open_folder(self._store.uri(self._name))

    def submit(self, name: str, *how: str) -> str:
        # Without an upload: nodes on one machine share its folder, and each would unpack it under the others' feet.
        job = ("python", str(JOB), self._who, "--config", str(self._config), "--at-once", "4")
        done = self.cluster.submit("--submission-id", f"{self._who}-{name}", *how, "--", *job)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def job(self, name: str) -> str:
        status: str = self.cluster.get(f"/api/jobs/{self._who}-{name}")["status"]
        return status

    def status_elsewhere(self) -> list[dict[str, Any]]:
        """What `safechain-ray status` tells, in a process that knows the bucket and no Ray."""
        command = [sys.executable, "-m", "safechain_ray", "status", self._uri, "--json"]
        environment = {**os.environ, **self._store.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        models: list[dict[str, Any]] = json.loads(done.stdout)["models"]
        return models

    def until(self, reached: Callable[[str], bool], job: str) -> None:
        """Wait until the job's log tells it: a status takes the store of a small machine more than a second."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached(log := self.logs(job)):
            assert self.job(job) in ("PENDING", "RUNNING"), log
            assert time.monotonic() < deadline, log
            time.sleep(0.5)

    def states(self) -> set[str]:
        return {model.state for model in read_status(self.folder.uri).models}

    def logs(self, job: str) -> str:
        logs: str = self.cluster.get(f"/api/jobs/{self._who}-{job}/logs")["logs"]
        return logs

    def sample_ids(self, model: str) -> list[str]:
        samples = self.folder / model / "samples"
        tables = [samples.read_parquet(name, ["sample_id"]) for name in samples.list_files(".parquet")]
        return [sample_id for table in tables for sample_id in table["sample_id"].to_pylist()]

    def is_at_work_on_two_nodes(self) -> bool:
        nodes = self.cluster.worker_nodes()
        return len(nodes) == 2 and any(replicas(node) for node in nodes)


def finished(log: str) -> int:
    return len(set(re.findall(r"(\S+) is done: ", log)))


def rows_of_engines(log: str) -> int:
    """The most rows that a model with an engine of its own has."""
    reported = re.findall(r"(\S+): (\d+)/12 rows", log)
    return max((int(rows) for model, rows in reported if model not in BY_API), default=0)


def replicas(node: int) -> int:
    """How many replicas of models a node holds."""
    return sum("MapBatches(GeneratorWorker)" in title_of(process) for process in with_all_below(node))


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("who", ["small", "all"])
def test_twelve_models_are_complete_in_the_morning_whatever_died_in_the_night(
    who: str, cluster: JobCluster, store: Store, api: ScriptedApi, hub_cache: Path, tmp_path: Path
) -> None:
    night = Night(who, cluster, store, api, tmp_path)
    assert len(night.models) == 12
    assert cluster.worker_nodes() == []

    night.submit("evening", "--no-wait")
    night.until(lambda log: rows_of_engines(log) >= 4 and night.is_at_work_on_two_nodes(), "evening")
    nodes = cluster.worker_nodes()
    kill_node(max(nodes, key=replicas))
    night.until(lambda log: bool(set(cluster.worker_nodes()) - set(nodes)), "evening")
    night.until(lambda log: finished(log) >= 6, "evening")
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

    assert "4 GPUs is gone: its unfinished work moves to other nodes." in night.logs("evening")

    output = night.submit("again")

    assert "of 12 models have samples to do" in output
    assert night.states() == {"done"}
    for model in night.models:
        ids = night.sample_ids(model)
        assert len(ids) == len(set(ids)) == ROWS, model
    leaderboard = night.folder.read_parquet("leaderboard.parquet").to_pandas()
    assert sorted(leaderboard["model"].unique()) == sorted(night.models)
    assert (leaderboard["rows"] == leaderboard["rows_expected"]).all()
    assert (leaderboard["missing"] == 0).all()
    assert night.folder.exists("report.html")
    assert len(list(hub_cache.glob("safechain-ray/demo-reasoner-*/model.safetensors"))) == 1

    deadline = time.monotonic() + PATIENCE_SECONDS
    while cluster.worker_nodes():
        assert time.monotonic() < deadline, cluster.processes()
        time.sleep(0.5)
