"""Where faults happen: a Ray cluster of GPU nodes on this machine, a real S3 server if wanted, and their ends."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safechain_ray.commands.gpu_check.check import descendants_titled

sys.path.insert(0, str(Path(__file__).parents[1]))  # the S3 server is that of the tests

REPLICAS = 2
SPOT_NOTICE_SECONDS = 120


@dataclass
class Scene:
    """A head without GPUs, and nodes with one logical GPU each. `output` is a folder in the store, where there is one.

    A copy, for another driver of the same cluster, has neither nodes nor store to do anything to.
    """

    address: str
    output: str = ""
    autoscaler_config: str | None = None
    _cluster: Any = None
    _nodes: list[Any] = field(default_factory=list)
    _store: Any = None

    @classmethod
    @contextmanager
    def set_up(cls, *, in_store: bool) -> Iterator["Scene"]:
        if not in_store:
            with cls._clustered() as scene:
                yield scene
            return
        from tests.s3_server import CREDENTIALS, s3_store

        os.environ.update(CREDENTIALS)
        with s3_store() as store, cls._clustered() as scene:
            scene._store, scene.output = store, store.uri("run")
            yield scene

    @classmethod
    @contextmanager
    def _clustered(cls) -> Iterator["Scene"]:
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 6})
        scene = cls(cluster.address, _cluster=cluster)
        scene.add_nodes(REPLICAS)
        try:
            yield scene
        finally:
            cluster.shutdown()

    def for_a_copy(self) -> "Scene":
        return replace(self, _cluster=None, _nodes=[], _store=None)

    def add_nodes(self, count: int) -> None:
        self._nodes += [self._cluster.add_node(num_cpus=3, num_gpus=1) for _ in range(count)]

    def kill_nodes(self, count: int) -> None:
        for _ in range(count):
            self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)

    def replace_nodes(self, count: int) -> None:
        self.kill_nodes(count)
        self.add_nodes(count)

    def notify(self) -> None:
        """A spot notice to the first node."""
        import ray
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline = int((time.time() + SPOT_NOTICE_SECONDS) * 1000)
        ray._raylet.GcsClient(address=self.address).drain_node(self._nodes[0].node_id, reason, "spot notice", deadline)

    def kill_workers(self, kind: str, count: int) -> None:
        """The first `count` worker processes of a pool."""
        title = f"ray::MapWorker(MapBatches({kind}"
        found = [each.pid for each in descendants_titled(title)]
        assert found, title
        for pid in found[:count]:
            os.kill(pid, signal.SIGKILL)

    def trouble_store(self, mode: str, seconds: float) -> None:
        self._store.proxy.mode = mode
        threading.Timer(seconds, lambda: setattr(self._store.proxy, "mode", "passes")).start()

    def kill_store(self, seconds: float) -> None:
        self._store.server.kill()
        threading.Timer(seconds, self._store.server.start).start()
