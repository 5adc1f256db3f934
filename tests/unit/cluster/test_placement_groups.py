"""Tensor-parallel groups of a replica over several nodes."""

import os
import sys
from pathlib import Path

import pytest

from safechain_ray.cluster import placement_groups
from safechain_ray.cluster.pipeline import resources_of
from safechain_ray.cluster.placement_groups import check_tensor_parallel, spread_groups
from safechain_ray.cluster.planner import PlannedPool, PoolNeeds
from safechain_ray.errors import EngineStartError


@pytest.mark.parametrize(
    ("gpus", "size", "largest_node", "spread"),
    [
        ([8, 8], 8, 8, None),
        ([7, 9], 8, 16, "7 + 9"),
        ([4, 4, 8], 8, 8, "4 + 4 + 8"),
        ([4, 4, 8], 4, 8, None),
        ([6, 2], 4, 8, "2 + 6"),
        ([1, 1], 2, 1, None),
        ([16], 8, 16, None),
    ],
)
def test_a_group_that_could_lie_on_one_node_does_not_straddle(
    gpus: list[int], size: int, largest_node: int, spread: str | None
):
    by_node = {f"node-{number}": count for number, count in enumerate(gpus)}
    assert spread_groups(by_node, size, largest_node) == spread


def test_a_replica_is_refused_where_ray_spread_its_group(monkeypatch: pytest.MonkeyPatch):
    nodes = {bundle: "a" if bundle < 7 else "b" for bundle in range(16)}
    monkeypatch.setattr(placement_groups.ray.util, "get_current_placement_group", lambda: "the group")
    monkeypatch.setattr(placement_groups, "placement_group_table", lambda group: {"bundles_to_node_id": nodes})
    monkeypatch.setattr(placement_groups.ray, "nodes", lambda: [{"Resources": {"GPU": 16}}, {"Resources": {}}])

    with pytest.raises(EngineStartError, match=r"Ray placed 7 \+ 9 GPUs"):
        check_tensor_parallel(8)
    check_tensor_parallel(1)


def test_vllms_actors_on_other_nodes_find_the_programs_of_the_environment():
    pool = PlannedPool(PoolNeeds("model", "m", "cuda", cpus=2, gpus=2, memory=2), replicas=1, executor="ray")
    own = str(Path(sys.executable).parent)
    assert resources_of(pool, None)["runtime_env"]["env_vars"]["PATH"] == f"{own}{os.pathsep}${{PATH}}"
