"""Tensor-parallel groups of a replica over several nodes."""

import pytest

from safechain_ray.cluster.streaming.placement_groups import spread_groups


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
