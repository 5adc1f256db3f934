"""Nodes of the cluster: their state, events for the driver's log, and the nodes that the autoscaler may still add."""

import math
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from safechain_ray.cluster.gpu_fit import GIGABYTES_OF_TYPES
from safechain_ray.cluster.planner import Node
from safechain_ray.cluster.ray_internals.cluster_state import drained_nodes, draining_nodes
from safechain_ray.engines.gpus import GIB
from safechain_ray.errors import InputError, first_line

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
        ending = " after draining" if was_drained else ": its unfinished work moves to other nodes"
        yield f"{before[node]} is gone{ending}."


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


BOOTSTRAP_CONFIG = "~/ray_bootstrap_config.yaml"
"""Where Ray's cluster launcher writes the config on the head node. `ray job submit` runs the driver there."""

ACCELERATOR_PREFIX = "accelerator_type:"


def read_autoscaler_capacity(
    config_file: str | None, accelerator: str | None, present: Sequence[Node]
) -> tuple[Node, ...]:
    """Every worker node that the config allows beside the `present` nodes; () where there is no config.

    With `accelerator`, only GPUs of that kind are counted.

    Raises:
        InputError: The file is not a cluster config.
    """
    path = Path(os.path.expanduser(config_file or BOOTSTRAP_CONFIG))
    if config_file is None and not path.exists():
        return ()
    try:
        config = yaml.safe_load(path.read_text())
        types = dict(config["available_node_types"])
        del types[config["head_node_type"]]
        nodes = list(_allowed(types, accelerator, config.get("max_workers", 2)))
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        reason = f"it has no key {error}" if isinstance(error, KeyError) else first_line(error)
        raise InputError(
            f"resources.autoscaler_config: {path} is not a Ray cluster config ({reason}). "
            "Fix: pass the YAML file that `ray up` was given."
        ) from error
    return tuple(_without_present(nodes, present))


def _allowed(types: Mapping[str, Mapping[str, Any]], accelerator: str | None, max_workers: int) -> Iterator[Node]:
    """The most workers of each type. Types with most GPUs come first, as `max_workers` bounds all types together."""
    left = max_workers
    for name, each in sorted(types.items(), key=lambda item: -item[1].get("resources", {}).get("GPU", 0)):
        resources = each.get("resources", {})
        node = Node(
            f"{name} (autoscaler)",
            cpus=resources.get("CPU", 0),
            gpus=gpus_of_kind(resources, accelerator),
            memory=resources.get("memory", math.inf) / GIB,
            gpu_memory=memory_of_type(resources),
        )
        count = min(left, each.get("max_workers", max_workers))
        left -= count
        yield from [node] * count


def _without_present(nodes: Sequence[Node], present: Sequence[Node]) -> Iterator[Node]:
    """Remove one node for each present node. Nodes have no type, so GPUs and CPUs identify it."""
    unmatched = [(node.gpus, node.cpus) for node in present]
    for node in nodes:
        if (node.gpus, node.cpus) in unmatched:
            unmatched.remove((node.gpus, node.cpus))
        else:
            yield node


def gpus_of_kind(resources: Mapping[str, float], accelerator: str | None) -> float:
    """The GPUs among a node's resources; 0 where they are of another kind than `accelerator`."""
    other_kind = accelerator is not None and f"{ACCELERATOR_PREFIX}{accelerator}" not in resources
    return 0.0 if other_kind else resources.get("GPU", 0.0)


def memory_of_type(resources: Mapping[str, Any]) -> float | None:
    """Memory of a node's GPUs, in 1e9 bytes, by the accelerator type among its Ray resources."""
    types = (name.removeprefix(ACCELERATOR_PREFIX) for name in resources if name.startswith(ACCELERATOR_PREFIX))
    known = sorted((each for each in types if each in GIGABYTES_OF_TYPES), key=len)
    return GIGABYTES_OF_TYPES[known[-1]] if known else None  # A100-80G is more precise than A100
