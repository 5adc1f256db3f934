"""State of the cluster and its nodes that only private clients of Ray report or change.

Each function returns a default value where its names are missing, so that callers need no fallback.
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
"""Public API looked for: `ray.nodes()` does not report it. `ray.util.state` needs the dashboard. The status of
`ray.autoscaler.v2.sdk` is a second late and has all pending demands of the cluster: too slow to poll every second."""

DEATH_REASONS = Hook(
    "death reasons",
    "messages do not show whether a node that is gone was drained before",
    (
        ("ray.core.generated.common_pb2", "NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED"),
        ("ray.core.generated.common_pb2", "NodeDeathInfo.AUTOSCALER_DRAIN_IDLE"),
    ),
)
"""Public API looked for: `ray.nodes()` gives the reason as a number. The names of the numbers are not public."""

FREE_RESOURCES = Hook(
    "free resources",
    "a sweep sees a second late which GPUs are free",
    (("ray._private.state", "available_resources_per_node"),),
)
"""Public API looked for: `ray.available_resources` has sums of the cluster. `ray.autoscaler.v2.sdk` has the resources
of each node, up to a second late; it is the fallback of this hook."""

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
"""Public API looked for: `ray.util.state.list_actors` needs the dashboard, which a local Ray runs without.
`placement_group_table` does not list the actors of a group."""

LOCAL_GPUS = Hook(
    "GPUs of a local Ray",
    "the plan for a local Ray counts NVIDIA GPUs only",
    (("ray._private.accelerators", "get_accelerator_manager_for_resource"),),
)
"""Public API looked for: `ray.cluster_resources` needs a running Ray, and a plan is shown without starting Ray."""

DRAIN_NODE = Hook(
    "spot notice",
    "a spot notice does not drain its node, and the node dies with its rows",
    (
        ("ray._raylet", "GcsClient"),
        ("ray._raylet", "InnerGcsClient.drain_node"),
        ("ray.core.generated.autoscaler_pb2", "DrainNodeReason.Value"),
    ),
)
"""Public API looked for: the command `ray drain-node` is hidden, and documented as not public."""


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
    """Resources that no actor and no task uses, by node id."""
    if FREE_RESOURCES.is_on():
        from ray._private.state import available_resources_per_node

        now: Mapping[str, Mapping[str, float]] = available_resources_per_node()
        return now
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return {node.node_id: node.available_resources() for node in (*status.active_nodes, *status.idle_nodes)}


def placement_groups_in_use() -> Mapping[bytes, bool]:
    """Whether an actor is alive, for each placement group of this driver that had actors. Empty without the hook."""
    in_use: dict[bytes, bool] = {}
    if not ACTORS_OF_GROUPS.is_on():
        return in_use
    from ray.core.generated.gcs_pb2 import ActorTableData

    here = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    for row in ray._private.state.state._connect_and_get_accessor().get_actor_table(here, None):
        actor = ActorTableData.FromString(row)
        if group := actor.placement_group_id:
            in_use[group] = in_use.get(group, False) or actor.state != ActorTableData.DEAD
    return in_use


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
    """Drain a node that will be gone in `seconds`. Returns the reason where Ray refuses, else None.

    Raises:
        Exception: Ray can't reach its head node.
    """
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    accepted, why_not = ray._raylet.GcsClient(address=gcs_address).drain_node(
        node_id,
        DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
        message,
        int((time.time() + seconds) * 1000),
    )
    return None if accepted else str(why_not)
