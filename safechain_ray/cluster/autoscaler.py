"""The nodes that an autoscaler may still bring, read from the cluster's own config."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from safechain_ray.cluster.gpu_supply import GIGABYTES_OF_TYPES
from safechain_ray.cluster.planner import Node
from safechain_ray.errors import InputError

BOOTSTRAP_CONFIG = "~/ray_bootstrap_config.yaml"
"""Where Ray's cluster launcher leaves the config on the head, which is where `ray job submit` runs the driver."""

GIGABYTE = 2**30

TYPE = "accelerator_type:"


def nodes_that_may_come(config_file: str | None, accelerator: str | None, present: Sequence[Node]) -> tuple[Node, ...]:
    """Every worker that the config allows beside those that are `present`; none where no config is found.

    Only GPUs of the kind `accelerator` are counted, where one is named.

    Raises InputError for a file that is no cluster config.
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
        raise InputError(
            f"resources.autoscaler_config: {path} does not read as a Ray cluster config ({error!r})."
        ) from error
    return tuple(_without_present(nodes, present))


def _allowed(types: Mapping[str, Mapping[str, Any]], accelerator: str | None, max_workers: int) -> Iterator[Node]:
    """The workers of each type at most; those of the largest GPU count first, as `max_workers` bounds them all."""
    left = max_workers
    for name, each in sorted(types.items(), key=lambda item: -item[1].get("resources", {}).get("GPU", 0)):
        resources = each.get("resources", {})
        node = Node(
            f"{name} (may come)",
            cpus=resources.get("CPU", 0),
            gpus=gpus_of_kind(resources, accelerator),
            memory=resources.get("memory", math.inf) / GIGABYTE,
            gpu_memory=memory_of_type(resources),
        )
        count = min(left, each.get("max_workers", max_workers))
        left -= count
        yield from [node] * count


def _without_present(nodes: Sequence[Node], present: Sequence[Node]) -> Iterator[Node]:
    """Take away one for each node that stands there. Nodes don't say of what type they are: GPUs and CPUs tell."""
    standing = [(node.gpus, node.cpus) for node in present]
    for node in nodes:
        if (node.gpus, node.cpus) in standing:
            standing.remove((node.gpus, node.cpus))
        else:
            yield node


def gpus_of_kind(resources: Mapping[str, float], accelerator: str | None) -> float:
    """The GPUs among a node's resources; 0 where another kind is asked for than Ray says that they are."""
    other_kind = accelerator is not None and f"{TYPE}{accelerator}" not in resources
    return 0.0 if other_kind else resources.get("GPU", 0.0)


def memory_of_type(resources: Mapping[str, Any]) -> float | None:
    """Memory of a node's GPUs, in 1e9 bytes, by the accelerator type among its Ray resources."""
    types = (name.removeprefix(TYPE) for name in resources if name.startswith(TYPE))
    known = sorted((each for each in types if each in GIGABYTES_OF_TYPES), key=len)
    return GIGABYTES_OF_TYPES[known[-1]] if known else None  # A100-80G says more than A100
