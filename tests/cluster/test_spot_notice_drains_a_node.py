"""A spot notice of the cloud on a real cluster of two nodes that asks everyone for a token."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import safechain_ray
from safechain_ray.cluster.spot.interruption_watcher import Raylet, _raylets
from safechain_ray.commands.gpu_check.check import title_of
from tests.cluster.job_cluster import PATIENCE_SECONDS, RAY, JobCluster, job_cluster
from tests.metadata_server import Metadata, metadata_server
from tests.waiting import wait_for

pytestmark = pytest.mark.long
"""They pass alone, also on a busy machine. In two of three whole runs of `make test` the head of their cluster was gone
before the second node had joined. The cause is not found."""

ROOT = Path(safechain_ray.__file__).parents[1]

OBSERVER = """
import sys, time, ray
from safechain_ray.cluster.ray_internals.cluster_state import draining_nodes

@ray.remote(num_cpus=0, resources={"spot": 1})
class Work:
    def begun(self):
        return True

address, node = sys.argv[1:]
ray.init(address, log_to_driver=False)
work = Work.remote()
ray.get(work.begun.remote())
print("at work", sorted(draining_nodes()), flush=True)
while node not in draining_nodes():
    time.sleep(0.2)
print(ray._private.state.state.get_draining_nodes()[node], flush=True)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[JobCluster]:
    with job_cluster() as running:
        yield running


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with metadata_server() as running:
        yield running


def may_use(cluster: JobCluster) -> dict[str, str]:
    return {**cluster.environment, "RAY_AUTH_TOKEN": cluster.token}


@contextmanager
def spot_node(cluster: JobCluster) -> Iterator[Raylet]:
    """A node beside the head, as `ray start` makes it on a worker."""
    (head,) = wait_for(lambda: raylets_of(cluster), PATIENCE_SECONDS)
    command = [RAY, "start", f"--address={head.gcs_address}", "--block", "--num-cpus=1", "--node-ip-address=127.0.0.1"]
    command += ['--resources={"spot": 1}', "--object-store-memory=100000000"]
    with (cluster.folder / "spot.log").open("wb") as log:
        started = subprocess.Popen(command, env=may_use(cluster), stdout=log, stderr=log)
    try:
        wait_for(lambda: len(raylets_of(cluster)) == 2 or started.poll() is not None, PATIENCE_SECONDS)
        joined = [one for one in raylets_of(cluster) if one.node_id != head.node_id]
        assert joined, "\n".join((cluster.folder / name).read_text()[-2000:] for name in ("start.log", "spot.log"))
        yield joined[0]
    finally:
        started.terminate()
        started.wait(PATIENCE_SECONDS)


def raylets_of(cluster: JobCluster) -> list[Raylet]:
    return [raylet for raylet in _raylets() if str(cluster.folder) in title_of(raylet.process)]


def watches(cluster: JobCluster, metadata: Metadata, raylet: Raylet) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "safechain_ray.cluster.spot.interruption_watcher", "aws"]
    command += ["--metadata", metadata.url, "--node-id", raylet.node_id]
    return subprocess.Popen(command, cwd=ROOT, env=may_use(cluster), stderr=subprocess.PIPE, text=True)


def test_a_notice_makes_ray_drain_the_node_until_the_time_that_the_cloud_names(
    cluster: JobCluster, metadata: Metadata
) -> None:
    with spot_node(cluster) as raylet:
        watcher = watches(cluster, metadata, raylet)
        command = [sys.executable, "-c", OBSERVER, raylet.gcs_address, raylet.node_id]
        reporter = subprocess.Popen(command, cwd=ROOT, env=may_use(cluster), stdout=subprocess.PIPE, text=True)
        assert reporter.stdout is not None
        assert reporter.stdout.readline() == "at work []\n"
        wait_for(lambda: metadata.looks >= 2, PATIENCE_SECONDS)
        assert watcher.poll() is None

        given = time.time()
        goes = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(given + 100))
        metadata.notice = json.dumps({"action": "terminate", "time": goes})
        deadline = int(reporter.stdout.readline()) / 1000
        assert deadline == pytest.approx(given + 100, abs=2)
        _, output = watcher.communicate(timeout=PATIENCE_SECONDS)
        assert watcher.returncode == 0
        assert f"Drained node {raylet.node_id}" in output
        reporter.wait(PATIENCE_SECONDS)


def test_the_watch_ends_with_its_node(cluster: JobCluster, metadata: Metadata) -> None:
    with spot_node(cluster) as raylet:
        watcher = watches(cluster, metadata, raylet)
        wait_for(lambda: metadata.looks >= 1, PATIENCE_SECONDS)
        assert psutil.pid_exists(raylet.process.pid)
    assert watcher.wait(PATIENCE_SECONDS) == 0
