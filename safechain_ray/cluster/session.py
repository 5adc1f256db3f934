"""Joins a Ray cluster or starts a local one, quietly, and reads what it has.

Reads the GPU memory of a cluster's nodes, by a short Ray task on each node.
"""

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from safechain_ray.cluster.autoscaler import gpus_of_kind, memory_of_type, nodes_that_may_come
from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.config import ClusterConfig
from safechain_ray.engines.environment import EnginePackage, installed_engine_package
from safechain_ray.engines.gpus import gpus_of_this_process, read_gpus, smallest_memory
from safechain_ray.errors import SafechainError

PROBE_SECONDS = 30.0

_read: dict[str, float | None] = {}

"""By node id: the GPUs of a node stay, and a sweep looks at its cluster every second."""


def probe_gpu_memory(nodes: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Memory of the smallest GPU of each of these nodes of `ray.nodes()`, in 1e9 bytes, by node id.

    None for a node without GPUs, and where neither NVML nor the accelerator type says it. Takes seconds at the first
    call for a node, as Ray starts a process there.
    """
    new = {node["NodeID"]: node for node in nodes if node["Resources"].get("GPU") and node["NodeID"] not in _read}
    probe = ray.remote(num_cpus=0, max_retries=0)(read_smallest_memory)
    tasks = {probe.options(scheduling_strategy=_on(node_id)).remote(): node_id for node_id in new}
    answered, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=PROBE_SECONDS) if tasks else ([], [])
    for task in late:
        ray.cancel(task, force=True)
    memory = {tasks[task]: _result(task) for task in answered}
    _read.update({node_id: memory.get(node_id) or memory_of_type(node["Resources"]) for node_id, node in new.items()})
    return {node["NodeID"]: _read.get(node["NodeID"]) for node in nodes}


def read_smallest_memory() -> float | None:
    """Memory of this machine's smallest GPU, in 1e9 bytes."""
    return smallest_memory(read_gpus().gpus)


def _on(node_id: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def _result(task: Any) -> float | None:
    try:
        memory: float | None = ray.get(task)
    except ray.exceptions.RayError:  # the node is gone, or its environment lacks this package
        return None
    return memory


LOCAL_LOGICAL_CPUS = 16

"""A local Ray counts tasks, not cores: with the two cores of a laptop two engines would leave no CPU for the stream."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

CONNECT_TIMEOUT_SECONDS = 5.0

CONNECT_PATIENCE_SECONDS = 5.0

"""How long a cluster may take to accept connections; a head that just started needs a moment."""

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
def ray_session(address: str | None, report: Callable[[str], None] | None = None) -> Iterator[Path]:
    """Ray for the length of a block; gives the folder of its logs. Leaving the block ends all that the run started.

    `address` of None takes RAY_ADDRESS, and starts a local Ray where that is not set either. Inside another session
    (a sweep's) the block is in that one. `report` gets a sentence for each node that comes or goes meanwhile.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import ray

    if ray.is_initialized():
        yield _log_folder()
        return
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
    address = cluster_address(address)
    if address is not None:
        check_reachable(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    local = {
        "num_cpus": LOCAL_LOGICAL_CPUS,
        "object_store_memory": LOCAL_OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    try:
        ray.init(
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
    from safechain_ray.cluster.nodes import node_news  # imports Ray, whose environment is set by now

    try:
        with node_news(report) if report else nullcontext():
            yield _log_folder()
    finally:
        ray.shutdown()


def _log_folder() -> Path:
    import ray

    context = ray.get_runtime_context()
    return Path(context.get_temp_dir(), context.get_session_name(), "logs")


def cluster_address(address: str | None) -> str | None:
    """The cluster to join: the one given, else RAY_ADDRESS; None for a local Ray."""
    return address or os.environ.get("RAY_ADDRESS")


def check_reachable(address: str, patience: float = CONNECT_PATIENCE_SECONDS) -> None:
    """Check that a server accepts connections at `address` ("host:port", "ray://host:port"; "auto" is left to Ray).

    `ray.init` itself retries for minutes without a message where nobody listens.

    Raises:
        SafechainError: Nobody accepts a connection for `patience` seconds, or the host name is unknown.
    """
    import ray.util

    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit():
        return
    # Ray itself replaces a loopback address by the address of this node.
    hosts = (host, ray.util.get_node_ip_address()) if host in LOOPBACK else (host,)
    deadline = time.monotonic() + patience
    while True:
        for each in hosts:
            try:
                socket.create_connection((each, int(port)), timeout=CONNECT_TIMEOUT_SECONDS).close()
                return
            except socket.gaierror as error:
                reason = f"the host name is unknown ({error.strerror})"
                deadline = 0.0
            except OSError as error:
                reason = error.strerror or str(error) or type(error).__name__
        if time.monotonic() >= deadline:
            break
        time.sleep(1)
    raise SafechainError(
        f"No Ray cluster answers at {address}: {reason}. Fix: start the cluster, correct --ray-address or RAY_ADDRESS, "
        "or unset RAY_ADDRESS to use a local Ray."
    )


def view_local() -> ClusterView:
    """What a local Ray would have, without the seconds that starting one takes."""
    from safechain_ray.cluster.ray_internals.cluster_state import gpus_of_local_ray

    gpus = gpus_of_local_ray()
    if gpus is None:
        gpus = len(gpus_of_this_process(read_gpus()))
    memory = psutil.virtual_memory().available - LOCAL_OBJECT_STORE_BYTES
    node = Node("local", LOCAL_LOGICAL_CPUS, gpus, memory / GIGABYTE, gpu_memory=_own_gpu_memory() if gpus else None)
    return ClusterView((node,), engine_package=installed_engine_package())


def view_cluster(resources: ClusterConfig) -> ClusterView:
    """The living nodes with all that they have, used or not, whether an autoscaler runs, and what it may bring.

    With `resources.accelerator`, as Ray names it ("L4"), only GPUs of that kind count.
    """
    from ray.autoscaler.v2.sdk import get_cluster_status

    kind = resources.accelerator
    living = _living()
    memory = _gpu_memory(living, resources)
    nodes = tuple(_node(node, node["Resources"], kind, memory) for node in living)
    may_come = nodes_that_may_come(resources.autoscaler_config, kind, nodes)
    # An autoscaler that has just begun has no version yet; one that needs no config here (KubeRay's) is told by it.
    autoscales = bool(may_come) or str(get_cluster_status(_gcs_address()).stats.autoscaler_version) not in ("0", "None")
    without_gpus = not any(node["Resources"].get("GPU") for node in living)
    unused = len(gpus_of_this_process(read_gpus())) if without_gpus else 0
    return ClusterView(nodes, autoscales, may_come, kind, _own_engine_package(resources), unused)


def view_free(resources: ClusterConfig) -> ClusterView:
    """The living nodes with what no actor and no task holds now; memory is all that they have, as none asks for it."""
    from safechain_ray.cluster.ray_internals.cluster_state import free_resources

    free = free_resources()
    kind = resources.accelerator
    living = _living()
    memory = _gpu_memory(living, resources)
    return ClusterView(
        tuple(
            replace(
                _node(
                    node, {**free.get(node["NodeID"], {}), "memory": node["Resources"].get("memory", 0)}, kind, memory
                ),
                gpus_in_all=gpus_of_kind(node["Resources"], kind),
            )
            for node in living
        ),
        engine_package=_own_engine_package(resources),
    )


def _own_engine_package(resources: ClusterConfig) -> EnginePackage | None:
    """This machine's vLLM where its engines run here, in a local Ray."""
    return installed_engine_package() if cluster_address(resources.ray_address) is None else None


def _living() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _gpu_memory(nodes: list[dict[str, Any]], resources: ClusterConfig) -> Mapping[str, float | None]:
    """Memory of each node's smallest GPU by node id; empty where the user has given it."""
    if resources.gpu_memory is not None:
        return {}
    if cluster_address(resources.ray_address) is None:
        return {node["NodeID"]: _own_gpu_memory() for node in nodes if node["Resources"].get("GPU")}

    return probe_gpu_memory(nodes)


def _own_gpu_memory() -> float | None:
    return smallest_memory(gpus_of_this_process(read_gpus()))


def _node(
    node: Mapping[str, Any],
    resources: Mapping[str, float],
    accelerator: str | None,
    gpu_memory: Mapping[str, float | None],
) -> Node:
    return Node(
        name=node["NodeManagerHostname"],
        cpus=resources.get("CPU", 0),
        gpus=gpus_of_kind(resources, accelerator),
        memory=resources.get("memory", 0) / GIGABYTE,
        gpu_memory=gpu_memory.get(node["NodeID"]),
    )


def _gcs_address() -> str:
    import ray

    address: str = ray.get_runtime_context().gcs_address
    return address
