"""Autoscaler capacity: the nodes that the autoscaler may still add, read from the cluster config."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from safechain_ray.cluster.gpu_supply import GIGABYTES_OF_TYPES
from safechain_ray.cluster.planner import Node
from safechain_ray.engines.gpus import GIB
from safechain_ray.errors import InputError

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
        raise InputError(
            f"resources.autoscaler_config: {path} is not a Ray cluster config ({error!r}). "
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
