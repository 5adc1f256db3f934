"""The ledger: deaths of engines and workers become suspicions of the rows that they decoded, and of no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_actors import NODE

from safechain_ray.cluster.workers.inflight_tracker import Ledger, Suspicion, blamed


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(lambda: frozenset({NODE}))


def test_rows_that_met_no_death_have_nothing_against_them(ledger: Ledger):
    assert ledger.take("w1", NODE, ["a", "b"]).suspicions == {}
    ledger.finish("w1", ["a", "b"])
    assert ledger.take("w2", NODE, ["a", "b"]).suspicions == {}


def test_a_worker_that_died_leaves_all_that_it_held_suspected(ledger: Ledger):
    ledger.take("w1", NODE, ["a", "b"])
    ledger.take("w1", NODE, ["c"])
    ledger.take("w1", NODE, ["done"])
    ledger.finish("w1", ["done"])
    assert ledger.take("w2", NODE, ["c"]).suspicions == {"c": Suspicion(1, 3)}
    assert ledger.take("w2", NODE, ["a", "b"]).suspicions == {"a": Suspicion(1, 3), "b": Suspicion(1, 3)}
    assert ledger.take("w2", NODE, ["done"]).suspicions == {}


def test_a_worker_that_died_while_it_decoded_suspects_leaves_only_those_blamed(ledger: Ledger):
    ledger.take("w1", NODE, ["a", "b", "c"])
    ledger.decodes("w1", ["b"])
    assert ledger.take("w2", NODE, ["a", "b", "c"]).suspicions == {"b": Suspicion(1, 1)}


def test_a_worker_that_went_with_its_node_leaves_nobody_suspected(ledger: Ledger):
    ledger.take("w1", "a node that is drained", ["a", "b"])
    assert ledger.take("w2", NODE, ["a", "b"]).suspicions == {}


def test_rows_that_another_worker_had_begun_are_counted(ledger: Ledger):
    ledger.take("w1", NODE, ["a", "b", "c"])
    assert ledger.take("w1", NODE, ["a"]).again == 0
    assert ledger.take("w2", NODE, ["b", "c", "d"]).again == 2


def test_deaths_of_engines_and_of_workers_add_up(ledger: Ledger):
    ledger.take("w1", NODE, ["a", "b"])
    ledger.died(["a", "b"])
    ledger.decodes("w1", ["a"])
    assert ledger.take("w2", NODE, ["a", "b"]).suspicions == {"a": Suspicion(2, 1), "b": Suspicion(1, 2)}


def test_a_worker_that_was_taken_for_gone_and_lived_ends_no_other_workers_hold(ledger: Ledger):
    ledger.take("w1", NODE, ["a"])
    ledger.take("w2", NODE, ["a"])
    ledger.finish("w1", ["a"])
    assert ledger.take("w3", NODE, ["a"]).suspicions == {"a": Suspicion(2, 1)}


def test_how_far_a_row_is_outlives_its_worker_and_is_forgotten_with_its_block(ledger: Ledger):
    ledger.take("w1", "a node that is drained", ["a", "b"])
    ledger.keep("a", {"text": "one round"})
    ledger.keep("a", {"text": "two rounds"})
    assert ledger.take("w2", NODE, ["a", "b"]).kept == {"a": {"text": "two rounds"}}
    ledger.finish("w2", ["a", "b"])
    ledger.keep("a", {"text": "told too late"})
    assert ledger.take("w3", NODE, ["a"]).kept == {}


@given(crowd=st.integers(1, 5_000), max_deaths=st.integers(1, 12))
def test_a_row_that_dies_in_every_crowd_it_may_meet_is_settled_in_as_many_deaths(crowd: int, max_deaths: int):
    known = blamed({}, [str(number) for number in range(crowd)])
    rows = ["0"]
    while not known["0"].is_settled(max_deaths):
        rows = list(known)[: known["0"].room(max_deaths)]
        known |= blamed(known, rows)
    assert known["0"].deaths == max(max_deaths, 1 if crowd == 1 else 2)
    assert len(rows) == 1


def test_crowds_shrink_by_the_same_factor_at_each_death():
    assert Suspicion(1, 512).room(3) == 22
    assert Suspicion(2, 22).room(3) == 1
    assert [Suspicion(1, 512).room(5), Suspicion(2, 107).room(5), Suspicion(3, 22).room(5)] == [107, 22, 4]
