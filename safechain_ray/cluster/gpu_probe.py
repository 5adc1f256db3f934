"""Reads the GPU memory of a cluster's nodes, by a short Ray task on each node."""

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from safechain_ray.cluster.autoscaler import memory_of_type
from safechain_ray.engines.gpus import read_gpus, smallest_memory

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
