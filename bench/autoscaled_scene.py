"""A Ray cluster of a head whose GPU nodes Ray's own autoscaler brings and takes away, on this machine."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_scene import REPLICAS, Scene

sys.path.insert(0, str(Path(__file__).parents[1]))  # the autoscaled cluster is that of the tests

PATIENCE_SECONDS = 180
NODES = {
    "one_gpu": {
        "resources": {"CPU": 3, "GPU": 1, "object_store_memory": 200_000_000},
        "max_workers": REPLICAS,
    }
}


@dataclass
class AutoscaledScene(Scene):
    """Its nodes are processes of this machine, so that any of its copies can kill them."""

    _job_cluster: Any = field(default=None)

    @classmethod
    @contextmanager
    def without_nodes(cls) -> Iterator["AutoscaledScene"]:
        from tests.cluster.job_cluster import job_cluster

        with job_cluster(NODES) as cluster:
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=cluster.token)
            yield cls(cluster.address, autoscaler_config=str(cluster.autoscaler_config), _job_cluster=cluster)

    def kill_nodes(self, count: int) -> None:
        from tests.cluster.job_cluster import kill_node

        for raylet in self._job_cluster.worker_nodes()[:count]:
            kill_node(raylet)

    def wait_until_no_node_is_left(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._job_cluster.worker_nodes():
            assert time.monotonic() < deadline, "the autoscaler left nodes that nobody needs"
            time.sleep(0.5)
