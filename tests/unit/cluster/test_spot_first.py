"""A node on demand where the cloud has no spot node, over a provider that stands in for Ray's."""

from typing import Any

import pytest

from safechain_ray.cluster.spot_first import SpotFirst


class Cloud:
    """Has what `markets` says."""

    def __init__(self, markets: set[str]) -> None:
        self._markets = markets
        self.asked: list[str] = []

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        self.asked.append(node_config["market"])
        if node_config["market"] not in self._markets:
            raise RuntimeError("InsufficientInstanceCapacity")
        return {f"node-{number}": node_config for number in range(count)}


class Provider(SpotFirst, Cloud):
    @staticmethod
    def on_demand(node_config: Any) -> dict[str, Any]:
        return {**node_config, "market": "on-demand"}


def test_a_spot_node_is_taken_where_there_is_one() -> None:
    provider = Provider({"spot", "on-demand"})
    assert provider.create_node({"market": "spot"}, {}, 2) == {
        "node-0": {"market": "spot"},
        "node-1": {"market": "spot"},
    }
    assert provider.asked == ["spot"]


def test_without_spot_capacity_the_same_nodes_come_on_demand() -> None:
    provider = Provider({"on-demand"})
    assert provider.create_node({"market": "spot", "disk": 9}, {}, 1) == {"node-0": {"market": "on-demand", "disk": 9}}
    assert provider.asked == ["spot", "on-demand"]


def test_where_the_cloud_has_neither_it_says_so() -> None:
    provider = Provider(set())
    with pytest.raises(RuntimeError, match="InsufficientInstanceCapacity"):
        provider.create_node({"market": "spot"}, {}, 1)
    assert provider.asked == ["spot", "on-demand"]


def test_a_node_that_was_asked_for_on_demand_is_asked_for_once() -> None:
    provider = Provider(set())
    with pytest.raises(RuntimeError):
        provider.create_node({"market": "on-demand"}, {}, 1)
    assert provider.asked == ["on-demand"]
