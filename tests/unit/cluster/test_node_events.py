"""What is told of nodes that come and go."""

from dataclasses import replace

from safechain_ray.cluster.nodes import SeenNode, news

HEAD = SeenNode("head (10.0.0.1)", 0)
SPOT = SeenNode("spot-1 (10.0.0.7)", 4)
TOLD = replace(SPOT, goes=True)


def test_nothing_is_told_where_nothing_changes():
    assert list(news({"h": HEAD, "s": TOLD}, {"h": HEAD, "s": TOLD}, ())) == []


def test_a_node_that_joins_is_told_with_its_gpus():
    assert list(news({"h": HEAD}, {"h": HEAD, "s": SPOT}, ())) == ["Node spot-1 (10.0.0.7) with 4 GPUs has joined."]


def test_a_node_that_is_told_to_go_is_told_once_and_then_that_it_is_gone():
    (told,) = news({"h": HEAD, "s": SPOT}, {"h": HEAD, "s": TOLD}, ())
    (gone,) = news({"h": HEAD, "s": TOLD}, {"h": HEAD}, ())
    assert told.startswith("Node spot-1 (10.0.0.7) with 4 GPUs was told to go")
    assert gone == "Node spot-1 (10.0.0.7) with 4 GPUs is gone, as it was told to."


def test_a_node_that_goes_between_two_looks_as_it_was_told_to_is_no_node_that_died():
    assert list(news({"s": SPOT}, {}, {"s"})) == [f"{SPOT} is gone, as it was told to."]


def test_a_node_that_another_replaces_between_two_looks_makes_two_sentences():
    assert list(news({"a": SPOT}, {"b": SPOT}, ())) == [f"{SPOT} has joined.", f"{SPOT} is gone."]


def test_a_node_that_joins_and_is_told_to_go_between_two_looks_is_told_as_both():
    assert len(list(news({}, {"s": TOLD}, ()))) == 2
