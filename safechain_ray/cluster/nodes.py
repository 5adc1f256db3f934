"""Nodes of the cluster: which one this is, which are here to stay, and actors that live beside the driver."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from safechain_ray.cluster.ray_internals.cluster_state import draining_nodes


def this_node() -> str:
    """The id of the node that this process runs on."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def staying_nodes() -> frozenset[str]:
    """The nodes that live and are not being drained: Ray starts actors on no others."""
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"]) - draining_nodes()


def staying_gpus() -> float:
    """The GPUs of these nodes, used or not."""
    staying = staying_nodes()
    return sum(float(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["NodeID"] in staying)


def beside_driver(actor: type, *arguments: Any) -> Any:
    """`actor(*arguments)` as a Ray actor on the driver's node: it outlives every other node, and takes no CPU."""
    here = NodeAffinitySchedulingStrategy(this_node(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(actor).remote(*arguments)
