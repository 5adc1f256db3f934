"""Joins a Ray cluster or starts a local one, quietly, and reads what it has."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.errors import SafechainError

LOCAL_LOGICAL_CPUS = 16
"""A local Ray counts tasks, not cores: with the two cores of a laptop two engines would leave no CPU for the stream."""

LOCAL_OBJECT_STORE_BYTES = 512 * 2**20
GIGABYTE = 2**30

# Ray Data holds a fast pool back only once half of the object store is in use. Samples are small, so that never
# happens; without a queue's bound a slow judge would leave thousands of samples uncommitted.
ENVIRONMENT = {
    "RAY_DATA_DOWNSTREAM_CAPACITY_OBJECT_STORE_BUDGET_UTIL_THRESHOLD": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 would let any other process of the machine starve the engines
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def ray_session(address: str | None) -> Iterator[Path]:
    """Ray for the length of a block; gives the folder of its logs. Leaving the block ends all that the run started.

    `address` of None takes RAY_ADDRESS, and starts a local Ray where that is not set either.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import ray

    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
    address = cluster_address(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    local = {
        "num_cpus": LOCAL_LOGICAL_CPUS,
        "object_store_memory": LOCAL_OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    try:
        context = ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            **({} if address else local),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        place = f"join the Ray cluster at {address}" if address else "start a local Ray"
        raise SafechainError(f"Could not {place}: {error}") from error
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler would end the process without a word; the caller's is the one that was meant.
        signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield Path(context.address_info["session_dir"]) / "logs"
    finally:
        ray.shutdown()


def cluster_address(address: str | None) -> str | None:
    """The cluster to join: the one given, else RAY_ADDRESS; None for a local Ray."""
    return address or os.environ.get("RAY_ADDRESS")


def view_local() -> ClusterView:
    """What a local Ray would have, without the seconds that starting one takes."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    gpus = get_accelerator_manager_for_resource("GPU").get_current_node_num_accelerators()
    memory = psutil.virtual_memory().available - LOCAL_OBJECT_STORE_BYTES
    return ClusterView((Node("local", LOCAL_LOGICAL_CPUS, gpus, memory / GIGABYTE),))


def view_cluster(accelerator: str | None = None) -> ClusterView:
    """The living nodes with all that they have, used or not, and whether an autoscaler runs.

    With `accelerator`, as Ray names it ("L4"), only GPUs of that kind count.
    """
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    nodes = tuple(
        Node(
            name=node["NodeManagerHostname"],
            cpus=node["Resources"].get("CPU", 0),
            gpus=_gpus(node["Resources"], accelerator),
            memory=node["Resources"].get("memory", 0) / GIGABYTE,
        )
        for node in ray.nodes()
        if node["Alive"]
    )
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return ClusterView(nodes, str(status.stats.autoscaler_version) not in ("0", "None"), accelerator)


def _gpus(resources: Mapping[str, float], accelerator: str | None) -> float:
    other_kind = accelerator is not None and f"accelerator_type:{accelerator}" not in resources
    return 0.0 if other_kind else resources.get("GPU", 0.0)
