"""A real `ray start --head` that asks everyone for a token, on ports of its own; autoscaled if wanted."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from safechain_ray.commands.gpu_check.check import descendants
from tests.free_ports import free_ports
from tests.processes import marked_environment, marked_processes

RAY = str(Path(sys.executable).with_name("ray"))
PATIENCE_SECONDS = 480

HEAD_TYPE, HEAD_ID = "ray.head.default", "f" * 51 + "00000"
"""What Ray's provider of nodes on one machine calls the head."""

NO_COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""Keys that Ray's autoscaler reads in any config."""


NOT_UP_YET = ("No available agent to submit job", "Remote end closed connection without response")
"""What a head says of a job while not all of its processes are there: its agent starts last."""


@dataclass(frozen=True)
class JobCluster:
    """`environment` is that of whoever may use it; `folder` holds its logs."""

    url: str
    token: str
    environment: dict[str, str]
    folder: Path

    @property
    def autoscaler_config(self) -> Path:
        """The file of an autoscaled one."""
        return self.folder / "autoscaler.json"

    @property
    def address(self) -> str:
        """That for drivers, of an autoscaled one."""
        return str(json.loads(self.autoscaler_config.read_text())["provider"]["gcs_address"])

    def ray(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The `ray` command against this cluster."""
        environment = {**self.environment, "RAY_AUTH_TOKEN": self.token, "RAY_API_SERVER_ADDRESS": self.url}
        return subprocess.run(
            [RAY, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )

    def submit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit`, again while the head can't take a job yet: it answers other requests before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            done = self.ray("job", "submit", *arguments)
            if not any(words in done.stderr for words in NOT_UP_YET) or time.monotonic() > deadline:
                return done
            time.sleep(1)

    def get(self, path: str, token: str | None = None) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token or self.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def worker_nodes(self) -> list[int]:
        """The raylets' process ids of all nodes but the head."""
        raylets = []
        for pid, name in marked_processes(self.environment).items():
            with suppress(psutil.NoSuchProcess):
                if "raylet/raylet" in name and psutil.Process(pid).environ()["RAY_NODE_TYPE_NAME"] != HEAD_TYPE:
                    raylets.append(pid)
        return raylets

    def processes(self) -> list[str]:
        """What its living processes call themselves."""
        return list(marked_processes(self.environment).values())

    def logs(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


def with_all_below(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *descendants(process)]


def kill_node(raylet: int) -> None:
    """The node is gone from one moment to the next."""
    for process in with_all_below(raylet):
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def job_cluster(workers: dict[str, Any] | None = None, **variables: str) -> Iterator[JobCluster]:
    """The cluster for the length of a block; its nodes' environment has `variables` too.

    With `workers`, node types as in a cluster.yaml, Ray's autoscaler starts nodes of them on this machine when they are
    wanted, and ends those that are idle for a few seconds.
    """
    folder = Path(tempfile.mkdtemp(prefix="sc-jobs-", dir="/tmp"))  # short: Ray's sockets have paths of 107 characters
    gcs, dashboard, agent, agent_grpc, runtime_env, client = free_ports(6)
    token = secrets.token_hex(32)
    environment = {
        **marked_environment(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "RAY_AUTH_MODE": "token",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        "RAY_worker_niceness": "15",  # Ray's own, whatever this process was told: its workers must not starve a store
        "RAY_agent_register_timeout_ms": "300000",  # a raylet ends where its agent needs longer: 30 s on a busy machine
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [RAY, "start", "--head", "--block", f"--temp-dir={folder}", "--num-cpus=8", "--node-ip-address=127.0.0.1"]
    command += [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--dashboard-agent-grpc-port={agent_grpc}", f"--runtime-env-agent-port={runtime_env}"]
    command += [f"--ray-client-server-port={client}", "--object-store-memory=200000000"]
    cluster = JobCluster(f"http://127.0.0.1:{dashboard}", token, environment, folder)
    if workers is not None:
        cluster.autoscaler_config.write_text(json.dumps(autoscaler_config(workers, f"127.0.0.1:{gcs}")))
        command.append(f"--autoscaling-config={cluster.autoscaler_config}")
        variables |= {"RAY_enable_autoscaler_v2": "1", "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        variables |= {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
        variables |= {"RAY_NODE_TYPE_NAME": HEAD_TYPE}
    output = folder / "start.log"
    with output.open("wb") as log:
        head = subprocess.Popen(
            command,
            env={**environment, **variables, "RAY_AUTH_TOKEN": token},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: answers(cluster), lambda: head.poll() is None, output)
        yield cluster
    finally:
        while marked := marked_processes(environment):
            for process in marked:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            head.poll()  # a dead child stays in the list until it is asked for
            time.sleep(0.1)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def autoscaler_config(workers: dict[str, Any], address: str) -> dict[str, Any]:
    """A cluster of the head and these node types, of which none need be there."""
    types = {name: {"node_config": {}, "min_workers": 0, **each} for name, each in workers.items()}
    return {
        "cluster_name": "of-a-test",
        "provider": {
            "type": "external",  # by its own name Ray looks for a file that its wheel does not have
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            "disable_node_updaters": True,  # nothing is to be installed on them
            "disable_launch_config_check": True,
        },
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        **dict.fromkeys(NO_COMMANDS, ()),
        "max_workers": sum(each["max_workers"] for each in workers.values()),
        "upscaling_speed": 10,
        "idle_timeout_minutes": 0.1,
        "head_node_type": HEAD_TYPE,
        "available_node_types": {
            HEAD_TYPE: {"resources": {"CPU": 8}, "node_config": {}, "max_workers": 0},
            **types,
        },
    }


def answers(cluster: JobCluster) -> bool:
    try:
        cluster.get("/api/jobs/")
    except (urllib.error.URLError, OSError):
        return False
    return True


def wait_until(reached: Any, alive: Any, said: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert alive(), said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
