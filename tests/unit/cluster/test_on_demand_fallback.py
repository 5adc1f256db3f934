"""A node on demand where the cloud has no spot node, over a provider that stands in for Ray's."""

from collections import Counter
from typing import Any

import pytest

from safechain_ray.cluster.spot import on_demand_fallback
from safechain_ray.cluster.spot.on_demand_fallback import OnDemandFallback, OneByOneOnDemandFallback


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


class Provider(OnDemandFallback, Cloud):
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


def test_the_warning_names_the_type_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(on_demand_fallback.logger, "warning", lambda text, *values: said.append(text % values))
    Provider({"on-demand"}).create_node({"market": "spot"}, {"ray-user-node-type": "gpu-1x24"}, 2)
    assert said == [
        "No spot node of type gpu-1x24 started (InsufficientInstanceCapacity). "
        "Starting 2 on-demand nodes instead, which cost more."
    ]


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


class GoogleCloud:
    """Has so many nodes of each market, and starts what it has of them though it raises, as Ray's provider does."""

    def __init__(self, **capacity: int) -> None:
        self._left = Counter(capacity)
        self.running: dict[str, str] = {}

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        market = node_config["market"]
        started = {f"node-{len(self.running) + place}": market for place in range(min(count, self._left[market]))}
        self.running |= started
        self._left[market] -= len(started)
        if len(started) < count:
            raise RuntimeError("ZONE_RESOURCE_POOL_EXHAUSTED")
        return started


class OnGoogleCloud(OneByOneOnDemandFallback, GoogleCloud):
    @staticmethod
    def on_demand(node_config: Any) -> dict[str, Any]:
        return {**node_config, "market": "demand"}


@pytest.mark.parametrize(
    ("spot", "demand", "came"),
    [
        (9, 0, ["spot"] * 5),
        (2, 9, ["spot"] * 2 + ["demand"] * 3),
        (0, 9, ["demand"] * 5),
        (2, 1, ["spot"] * 2 + ["demand"]),
    ],
)
def test_where_spot_nodes_are_there_for_a_part_the_others_come_on_demand_and_none_beside_them(
    spot: int, demand: int, came: list[str]
) -> None:
    provider = OnGoogleCloud(spot=spot, demand=demand)
    assert list(provider.create_node({"market": "spot"}, {}, 5).values()) == came
    assert list(provider.running.values()) == came


def test_where_google_has_neither_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="ZONE_RESOURCE_POOL_EXHAUSTED"):
        OnGoogleCloud().create_node({"market": "spot"}, {}, 5)
