"""Nodes of the cluster: their state, events for the driver's log, and actors on the driver's node."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from safechain_ray.cluster.ray_internals.cluster_state import drained_nodes, draining_nodes

POLL_INTERVAL = 2.0

JOIN_TIMEOUT = 10.0
"""Seconds to wait for the last poll at the end of a block. A Ray that has failed may never answer the poll."""


def this_node() -> str:
    """The id of the node that this process runs on."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def staying_nodes() -> frozenset[str]:
    """The nodes that are alive and not draining: Ray starts actors on no others."""
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"]) - draining_nodes()


def staying_gpus() -> float:
    """The number of GPUs on these nodes, used or not."""
    staying = staying_nodes()
    return sum(float(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["NodeID"] in staying)


def beside_driver(actor: type, *arguments: Any) -> Any:
    """`actor(*arguments)` as a Ray actor on the driver's node. It outlives all other nodes, and takes no CPU."""
    here = NodeAffinitySchedulingStrategy(this_node(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(actor).remote(*arguments)


@dataclass(frozen=True, slots=True)
class NodeState:
    """A living node. `is_draining` after a spot notice, or where an autoscaler removes an idle node."""

    name: str
    gpus: float
    is_draining: bool = False

    def __str__(self) -> str:
        return f"Node {self.name} with {self.gpus:g} GPU{'' if self.gpus == 1 else 's'}"


NodeStates = Mapping[str, NodeState]
"""By Ray's id of the node."""


def node_events(before: NodeStates, now: NodeStates, drained: Collection[str]) -> Iterator[str]:
    """A sentence for each node that joined, started to drain or left between two polls.

    `drained` are the nodes that left after draining. A node that drains fast is gone before the next poll.
    """
    for node, state in now.items():
        if node not in before:
            yield f"{state} has joined."
        if state.is_draining and not (node in before and before[node].is_draining):
            yield f"{state} is draining: it receives no new rows, and its rows are requeued."
    for node in before.keys() - now.keys():
        was_drained = before[node].is_draining or node in drained
        yield f"{before[node]} is gone{' after draining' if was_drained else ''}."


@contextmanager
def report_node_events(report: Callable[[str], None]) -> Iterator[None]:
    """Poll the nodes from a thread while the block runs, and report events. The driver must be connected to Ray."""
    ended = threading.Event()

    def poll() -> None:
        before = _node_states()
        while not ended.wait(POLL_INTERVAL):
            now = _node_states()
            for sentence in node_events(before, now, drained_nodes()):
                report(sentence)
            before = now

    poller = threading.Thread(target=poll, name="node-events", daemon=True)
    poller.start()
    try:
        yield
    finally:
        ended.set()
        poller.join(JOIN_TIMEOUT)


def _node_states() -> NodeStates:
    draining = draining_nodes()
    return {
        node["NodeID"]: NodeState(
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            node["Resources"].get("GPU", 0),
            node["NodeID"] in draining,
        )
        for node in ray.nodes()
        if node["Alive"]
    }
