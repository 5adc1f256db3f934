"""The events that are reported of nodes that join, drain and leave."""

from dataclasses import replace

from safechain_ray.cluster.nodes import NodeState, node_events

HEAD = NodeState("head (10.0.0.1)", 0)
SPOT = NodeState("spot-1 (10.0.0.7)", 4)
DRAINING = replace(SPOT, is_draining=True)


def test_nothing_is_reported_where_nothing_changes():
    assert list(node_events({"h": HEAD, "s": DRAINING}, {"h": HEAD, "s": DRAINING}, ())) == []


def test_a_node_that_joins_is_reported_with_its_gpus():
    events = node_events({"h": HEAD}, {"h": HEAD, "s": SPOT}, ())
    assert list(events) == ["Node spot-1 (10.0.0.7) with 4 GPUs has joined."]


def test_a_node_that_drains_is_reported_once_and_again_when_it_is_gone():
    (drains,) = node_events({"h": HEAD, "s": SPOT}, {"h": HEAD, "s": DRAINING}, ())
    (gone,) = node_events({"h": HEAD, "s": DRAINING}, {"h": HEAD}, ())
    assert drains.startswith("Node spot-1 (10.0.0.7) with 4 GPUs is draining")
    assert gone == "Node spot-1 (10.0.0.7) with 4 GPUs is gone after draining."


def test_a_node_that_drains_and_leaves_between_two_polls_did_not_die():
    assert list(node_events({"s": SPOT}, {}, {"s"})) == [f"{SPOT} is gone after draining."]


def test_a_node_that_another_replaces_between_two_polls_makes_two_events():
    assert list(node_events({"a": SPOT}, {"b": SPOT}, ())) == [
        f"{SPOT} has joined.",
        f"{SPOT} is gone: its unfinished work moves to other nodes.",
    ]


def test_a_node_that_joins_and_drains_between_two_polls_is_reported_as_both():
    assert len(list(node_events({}, {"s": DRAINING}, ()))) == 2
