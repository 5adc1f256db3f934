"""State of the cluster and its nodes that only private clients of Ray report or change.

Each function has a value to return where its names are missing, so that callers need no other way.
"""

import time
from collections.abc import Mapping

import ray

from safechain_ray.cluster.ray_internals.hooks import Hook

DRAINING_NODES = Hook(
    "draining nodes",
    "a draining node gets new rows until it is gone",
    (("ray._private.state", "state.get_draining_nodes"),),
)
"""Public ways looked for: `ray.nodes()` does not say it. `ray.util.state` needs the dashboard. `ray.autoscaler.v2.sdk`
says it, a second late and with every pending demand of the cluster: the stream's own thread asks once a second."""

DEATH_REASONS = Hook(
    "death reasons",
    "messages do not say whether a node that is gone was drained before",
    (
        ("ray.core.generated.common_pb2", "NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED"),
        ("ray.core.generated.common_pb2", "NodeDeathInfo.AUTOSCALER_DRAIN_IDLE"),
    ),
)
"""Public way looked for: `ray.nodes()` gives the reason as a number, whose names are nowhere public."""

FREE_RESOURCES = Hook(
    "free resources",
    "a sweep sees a second late which GPUs are free",
    (("ray._private.state", "available_resources_per_node"),),
)
"""Public ways looked for: `ray.available_resources` has sums of the cluster. `ray.autoscaler.v2.sdk` has the resources
of each node as of the last second; it is taken where this one is missing."""

ACTORS_OF_GROUPS = Hook(
    "actors of placement groups",
    "replicas over several nodes keep their GPUs until the run ends, and the next model of a sweep waits for them",
    (
        ("ray._private.state", "state._connect_and_get_accessor"),
        ("ray._raylet", "GlobalStateAccessor.get_actor_table"),
        ("ray.core.generated.gcs_pb2", "ActorTableData.PLACEMENT_GROUP_ID_FIELD_NUMBER"),
        ("ray.core.generated.gcs_pb2", "ActorTableData.STATE_FIELD_NUMBER"),
        ("ray.core.generated.gcs_pb2", "ActorTableData.DEAD"),
    ),
)
"""Public ways looked for: `ray.util.state.list_actors` needs the dashboard, which a local Ray runs without.
`placement_group_table` does not list the actors of a group."""

LOCAL_GPUS = Hook(
    "GPUs of a local Ray",
    "the plan for a local Ray counts NVIDIA GPUs only",
    (("ray._private.accelerators", "get_accelerator_manager_for_resource"),),
)
"""Public way looked for: `ray.cluster_resources` needs a Ray that runs, and a plan is shown without starting one."""

DRAIN_NODE = Hook(
    "spot notice",
    "a spot notice does not drain its node, and the node dies with its rows",
    (
        ("ray._raylet", "GcsClient"),
        ("ray._raylet", "InnerGcsClient.drain_node"),
        ("ray.core.generated.autoscaler_pb2", "DrainNodeReason.Value"),
    ),
)
"""Public way looked for: the command `ray drain-node` is hidden, and says that its interface is not public."""


def draining_nodes() -> frozenset[str]:
    """The nodes that are draining: after a spot notice, or by an autoscaler. Empty without the hook."""
    return frozenset(ray._private.state.state.get_draining_nodes()) if DRAINING_NODES.is_on() else frozenset()


def drained_nodes() -> frozenset[str]:
    """The nodes that were drained and are gone. Empty without the hook."""
    if not DEATH_REASONS.is_on():
        return frozenset()
    from ray.core.generated.common_pb2 import NodeDeathInfo

    drained = (NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED, NodeDeathInfo.AUTOSCALER_DRAIN_IDLE)
    return frozenset(node["NodeID"] for node in ray.nodes() if node.get("DeathReason") in drained)


def free_resources() -> Mapping[str, Mapping[str, float]]:
    """What no actor and no task holds, by node id."""
    if FREE_RESOURCES.is_on():
        from ray._private.state import available_resources_per_node

        now: Mapping[str, Mapping[str, float]] = available_resources_per_node()
        return now
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return {node.node_id: node.available_resources() for node in (*status.active_nodes, *status.idle_nodes)}


def placement_groups_in_use() -> Mapping[bytes, bool]:
    """Whether any actor lives, for every placement group of this driver that had one. Empty without the hook."""
    lives: dict[bytes, bool] = {}
    if not ACTORS_OF_GROUPS.is_on():
        return lives
    from ray.core.generated.gcs_pb2 import ActorTableData

    here = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    for row in ray._private.state.state._connect_and_get_accessor().get_actor_table(here, None):
        actor = ActorTableData.FromString(row)
        if group := actor.placement_group_id:
            lives[group] = lives.get(group, False) or actor.state != ActorTableData.DEAD
    return lives


def gpus_of_local_ray() -> int | None:
    """The GPUs that a Ray started here would have, as Ray counts them; None without the hook."""
    if not LOCAL_GPUS.is_on():
        return None
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    gpus: int = manager.get_current_node_num_accelerators()
    visible = manager.get_current_process_visible_accelerator_ids()
    return gpus if visible is None else min(gpus, len(visible))  # CUDA_VISIBLE_DEVICES


def drain_node(gcs_address: str, node_id: str, message: str, seconds: float) -> str | None:
    """Have Ray drain a node that is gone in `seconds`; gives the reason where Ray refuses, else None.

    Raises:
        Exception: What Ray raises where its head is not reached.
    """
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    accepted, why_not = ray._raylet.GcsClient(address=gcs_address).drain_node(
        node_id,
        DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
        message,
        int((time.time() + seconds) * 1000),
    )
    return None if accepted else str(why_not)
