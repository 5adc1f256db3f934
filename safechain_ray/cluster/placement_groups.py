"""Placement groups of replicas that span nodes: one group for each replica, removed after the replica has ended.

Ray keeps the resources of a driver's placement groups until the driver ends. The judges of a later stage, or the next
model of a sweep, would wait for these GPUs forever.
"""

import threading
from collections import Counter
from collections.abc import Mapping

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from safechain_ray.cluster.ray_internals.cluster_state import placement_groups_in_use
from safechain_ray.errors import EngineStartError

_groups: dict[bytes, PlacementGroup] = {}
_lock = threading.Lock()


def new_group(bundle: Mapping[str, float], bundles: int) -> PlacementGroup:
    """A group for one actor and the actors that it starts, on as few nodes as possible."""
    group = placement_group([dict(bundle)] * bundles, strategy="PACK")
    with _lock:
        _groups[group.id.binary()] = group
    return group


def remove_unused_groups() -> None:
    """Remove the groups whose actors have all ended. Groups of pending and restarting actors stay."""
    with _lock:
        if not _groups:
            return
        ended = [group for group, in_use in placement_groups_in_use().items() if not in_use]
        for group in _groups.keys() & ended:
            remove_placement_group(_groups.pop(group))


def check_tensor_parallel(size: int) -> None:
    """Check that no tensor-parallel group of this actor's placement group spans nodes.

    Raises:
        EngineStartError: A group of `size` GPUs is spread over nodes, though a node has as many GPUs. Each token would
            wait for the network; vLLM only warns.
    """
    group = ray.util.get_current_placement_group()
    if group is None:
        return
    nodes = placement_group_table(group)["bundles_to_node_id"].values()
    spread = spread_groups(Counter(nodes), size, max(node["Resources"].get("GPU", 0) for node in ray.nodes()))
    if spread:
        raise EngineStartError(
            f"A tensor-parallel group of {size} GPUs is spread over nodes: Ray placed {spread} GPUs of the replica on "
            f"them. Fix: free nodes with {size} GPUs each, or lower tensor_parallel_size; then rerun the command to "
            "resume."
        )


def spread_groups(gpus_by_node: Mapping[str, int], size: int, largest_node: float) -> str | None:
    """The GPUs on each node, such as "7 + 9", where a group of `size` spans nodes; None where no group does.

    vLLM fills groups node by node. A size larger than any node is spread on purpose.
    """
    counts = sorted(gpus_by_node.values())
    if size > largest_node or all(count % size == 0 for count in counts):
        return None
    return " + ".join(map(str, counts))
