"""Ray session: joins a cluster or starts a local Ray, and reads the resources of its nodes.

The GPU memory of a cluster's nodes is read by a short Ray task on each node. `ray` is imported inside functions, after
`ENVIRONMENT` is set.

`explain` finds the project's own error in an exception of Ray.
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
from ray.data.exceptions import SystemException
from ray.exceptions import RayError, RayTaskError

from safechain_ray.catalog.code import code_for_workers, modules_of_catalogs
from safechain_ray.cluster.nodes import gpus_of_kind, memory_of_type, read_autoscaler_capacity
from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.config import ClusterConfig
from safechain_ray.engines.gpus import GIB, gpus_of_this_process, read_gpus, smallest_memory
from safechain_ray.engines.vllm_environment import EnginePackage, installed_engine_package
from safechain_ray.errors import InputError, SafechainError, first_line

LOCAL_LOGICAL_CPUS = 16
"""A local Ray counts tasks, not cores: on a laptop of two cores, two engines would leave no CPU for the stream."""

LOCAL_OBJECT_STORE_BYTES = 512 * 2**20

LOOPBACK = ("localhost", "127.0.0.1", "::1")

CONNECT_TIMEOUT = 5.0

CONNECT_GRACE_PERIOD = 5.0
"""Seconds until a cluster must accept connections; a head that has just started needs a moment."""

PROBE_TIMEOUT = 30.0

FIX_TO_JOIN = (
    "use the cluster's versions of Ray and Python and its RAY_AUTH_MODE, and see `ray status` on the head node."
)

FIX_TO_START = "free memory and disk space, and see Ray's logs in /tmp/ray/session_latest/logs."

ENVIRONMENT = {
    # Ray Data applies backpressure to a fast pool only at half of the object store. Samples are small, so a slow judge
    # would leave thousands of samples uncommitted.
    "RAY_DATA_DOWNSTREAM_CAPACITY_OBJECT_STORE_BUDGET_UTIL_THRESHOLD": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # under Ray's 15 any other process of the machine would starve the engines
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_memory_of_node: dict[str, float | None] = {}
"""Cache by node id: the GPUs of a node do not change, and a sweep reads its cluster every second."""


@contextmanager
def ray_session(address: str | None, report: Callable[[str], None] | None = None) -> Iterator[Path]:
    """Connect to Ray while the block runs; gives the folder of Ray's logs. Actors of the run end with the block.

    `address` of None uses RAY_ADDRESS, and starts a local Ray where RAY_ADDRESS is not set. Inside another session (a
    sweep's), the block uses that session. `report` receives a sentence for each node that joins or leaves.
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
        action = f"join the Ray cluster at {address}" if address else "start a local Ray"
        fix = FIX_TO_JOIN if address else FIX_TO_START
        raise SafechainError(f"Could not {action}: {str(error).strip().rstrip('.')}. Fix: {fix}") from error
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler ends the process without a message: restore the caller's handler.
        signal.signal(signal.SIGTERM, on_sigterm)
    from safechain_ray.cluster.nodes import report_node_events  # after ENVIRONMENT is set, as it imports Ray

    try:
        with report_node_events(report) if report else nullcontext():
            yield _log_folder()
    finally:
        ray.shutdown()


def pickle_catalog_code_by_value() -> None:
    """Send the code of users' catalogs with the objects that use it: other nodes have no such files.

    Raises InputError for code that can't be pickled, before an engine loads.
    """
    from ray import cloudpickle

    for module in modules_of_catalogs():
        cloudpickle.register_pickle_by_value(module)
    for where, code in code_for_workers().items():
        try:
            cloudpickle.dumps(code)
        except Exception as error:  # an object of the user's module may raise anything
            raise InputError(
                f"{where}: the code can't be sent to workers: {type(error).__name__}: {first_line(error)}. Fix: make "
                "locks, files and connections in __init__, not at the top of the module or of the class."
            ) from error


def _log_folder() -> Path:
    import ray

    context = ray.get_runtime_context()
    return Path(context.get_temp_dir(), context.get_session_name(), "logs")


def cluster_address(address: str | None) -> str | None:
    """The cluster to join: `address`, else RAY_ADDRESS; None for a local Ray."""
    return address or os.environ.get("RAY_ADDRESS")


def check_reachable(address: str, grace_period: float = CONNECT_GRACE_PERIOD) -> None:
    """Check that a server accepts connections at `address` ("host:port", "ray://host:port"; "auto" is left to Ray).

    `ray.init` itself retries for minutes without a message.

    Raises:
        SafechainError: No server accepts a connection for `grace_period` seconds, or the host name is unknown.
    """
    import ray.util

    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit():
        return
    # Ray itself replaces a loopback address by the address of this node.
    hosts = (host, ray.util.get_node_ip_address()) if host in LOOPBACK else (host,)
    deadline = time.monotonic() + grace_period
    while True:
        for each in hosts:
            try:
                socket.create_connection((each, int(port)), timeout=CONNECT_TIMEOUT).close()
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
    """The resources of a local Ray, without starting one, which takes seconds."""
    from safechain_ray.cluster.ray_internals.cluster_state import gpus_of_local_ray

    gpus = gpus_of_local_ray()
    if gpus is None:
        gpus = len(gpus_of_this_process(read_gpus()))
    memory = psutil.virtual_memory().available - LOCAL_OBJECT_STORE_BYTES
    node = Node("local", LOCAL_LOGICAL_CPUS, gpus, memory / GIB, gpu_memory=_own_gpu_memory() if gpus else None)
    return ClusterView((node,), engine_package=installed_engine_package())


def view_cluster(resources: ClusterConfig) -> ClusterView:
    """The living nodes with all their resources, free or used, and the capacity of the autoscaler.

    With `resources.accelerator`, as Ray names it ("L4"), only GPUs of that kind are counted.
    """
    from ray.autoscaler.v2.sdk import get_cluster_status

    kind = resources.accelerator
    living = _living()
    memory = _gpu_memory(living, resources)
    nodes = tuple(_node(node, node["Resources"], kind, memory) for node in living)
    capacity = read_autoscaler_capacity(resources.autoscaler_config, kind, nodes)
    # The version shows an autoscaler without a config here, such as KubeRay's. One that has just started has none yet.
    autoscales = bool(capacity) or str(get_cluster_status(_gcs_address()).stats.autoscaler_version) not in (
        "0",
        "None",
    )
    without_gpus = not any(node["Resources"].get("GPU") for node in living)
    unused = len(gpus_of_this_process(read_gpus())) if without_gpus else 0
    return ClusterView(nodes, autoscales, capacity, kind, _own_engine_package(resources), unused)


def view_free(resources: ClusterConfig) -> ClusterView:
    """The living nodes with their free resources. Memory is all memory of a node, as no actor requests memory."""
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
    """This machine's vLLM where the engines run in a local Ray; else None."""
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


def probe_gpu_memory(nodes: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Memory of the smallest GPU of each node of `ray.nodes()` in GB (1e9 bytes), by node id.

    None for a node without GPUs, and where neither NVML nor the accelerator type gives the memory. The first call for a
    node takes seconds, as Ray starts a process there.
    """
    import ray

    with_gpus = (node for node in nodes if node["Resources"].get("GPU"))
    unread = {node["NodeID"]: node for node in with_gpus if node["NodeID"] not in _memory_of_node}
    probe = ray.remote(num_cpus=0, max_retries=0)(read_smallest_memory)
    tasks = {probe.options(scheduling_strategy=_node_affinity(node_id)).remote(): node_id for node_id in unread}
    answered, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=PROBE_TIMEOUT) if tasks else ([], [])
    for task in late:
        ray.cancel(task, force=True)
    memory = {tasks[task]: _result(task) for task in answered}
    _memory_of_node.update(
        {node_id: memory.get(node_id) or memory_of_type(node["Resources"]) for node_id, node in unread.items()}
    )
    return {node["NodeID"]: _memory_of_node.get(node["NodeID"]) for node in nodes}


def read_smallest_memory() -> float | None:
    """Memory of this machine's smallest GPU in GB (1e9 bytes)."""
    return smallest_memory(read_gpus().gpus)


def _node_affinity(node_id: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def _result(task: Any) -> float | None:
    import ray

    try:
        memory: float | None = ray.get(task)
    except ray.exceptions.RayError:  # the node is gone, or does not have this package
        return None
    return memory


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
        memory=resources.get("memory", 0) / GIB,
        gpu_memory=gpu_memory.get(node["NodeID"]),
    )


def _gcs_address() -> str:
    import ray

    address: str = ray.get_runtime_context().gcs_address
    return address


def explain(error: BaseException) -> BaseException:
    """The SafechainError inside `error`; without one, the exception that a worker raised; else `error` itself.

    Ray raises a RayTaskError, whose text is a remote traceback and whose `cause` is the original exception. Ray Data
    gives errors outside of workers the cause `SystemException`, an empty marker. The `__context__` of an error is not
    its cause (Ray Data ends its loops by StopIteration), but may contain a SafechainError.
    """
    for inside in _inside(error, ("cause", "__cause__", "__context__"), set()):
        if isinstance(inside, SafechainError) and not isinstance(inside, RayTaskError):
            return inside
    causes = _inside(error, ("cause", "__cause__"), set())
    return next((cause for cause in causes if not isinstance(cause, RayError | SystemException)), error)


def _inside(error: BaseException | None, links: tuple[str, ...], seen: set[int]) -> Iterator[BaseException]:
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for link in links:
        yield from _inside(getattr(error, link, None), links, seen)
