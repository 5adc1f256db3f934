"""Nodes of the cluster: which one this is, which are here to stay, and actors that live beside the driver.

Tells, while a driver works, which nodes of its cluster join, are told to go, and are gone.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from safechain_ray.cluster.ray_internals.cluster_state import drained_nodes, draining_nodes


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


POLL_INTERVAL = 2.0

END_SECONDS = 10.0

"""How long the end of a block waits for a last look: a Ray that is in trouble may never answer it."""


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A living node. `goes` is whether it was told to: by a spot notice, or by an autoscaler that has no use for it."""

    name: str
    gpus: float
    goes: bool = False

    def __str__(self) -> str:
        return f"Node {self.name} with {self.gpus:g} GPU{'' if self.gpus == 1 else 's'}"


Nodes = Mapping[str, SeenNode]

"""By Ray's id of the node."""


def news(before: Nodes, now: Nodes, drained: Collection[str]) -> Iterator[str]:
    """A sentence for each node that has joined, was told to go, or is gone in between.

    `drained` are the nodes that ended because they were told to: one that hands over fast is gone before the next look.
    """
    for node, seen in now.items():
        if node not in before:
            yield f"{seen} has joined."
        if seen.goes and not (node in before and before[node].goes):
            yield f"{seen} was told to go: it gets no new rows, and hands over what it can."
    for node in before.keys() - now.keys():
        told = before[node].goes or node in drained
        yield f"{before[node]} is gone{', as it was told to' if told else ''}."


@contextmanager
def node_news(report: Callable[[str], None]) -> Iterator[None]:
    """Say the news from a thread for the length of a block, in which the driver has joined a Ray."""
    ended = threading.Event()

    def watch() -> None:
        before = _nodes()
        while not ended.wait(POLL_INTERVAL):
            now = _nodes()
            for sentence in news(before, now, drained_nodes()):
                report(sentence)
            before = now

    watching = threading.Thread(target=watch, name="node-news", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join(END_SECONDS)


def _nodes() -> Nodes:
    draining = draining_nodes()
    return {
        node["NodeID"]: SeenNode(
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            node["Resources"].get("GPU", 0),
            node["NodeID"] in draining,
        )
        for node in ray.nodes()
        if node["Alive"]
    }
