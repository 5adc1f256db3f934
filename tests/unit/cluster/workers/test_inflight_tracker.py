"""The ledger: deaths of engines and workers become suspicions of the rows that they decoded, and of no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.cluster.workers.inflight_tracker import CrashRecord, InFlightTracker, record_crash
from tests.unit.cluster.local_actors import NODE


@pytest.fixture
def inflight_tracker() -> InFlightTracker:
    return InFlightTracker(lambda: frozenset({NODE}))


def test_rows_that_met_no_death_have_nothing_against_them(inflight_tracker: InFlightTracker):
    assert inflight_tracker.claim("w1", NODE, ["a", "b"]).suspicions == {}
    inflight_tracker.finish("w1", ["a", "b"])
    assert inflight_tracker.claim("w2", NODE, ["a", "b"]).suspicions == {}


def test_a_worker_that_died_leaves_all_that_it_held_suspected(inflight_tracker: InFlightTracker):
    inflight_tracker.claim("w1", NODE, ["a", "b"])
    inflight_tracker.claim("w1", NODE, ["c"])
    inflight_tracker.claim("w1", NODE, ["done"])
    inflight_tracker.finish("w1", ["done"])
    assert inflight_tracker.claim("w2", NODE, ["c"]).suspicions == {"c": CrashRecord(1, 3)}
    assert inflight_tracker.claim("w2", NODE, ["a", "b"]).suspicions == {"a": CrashRecord(1, 3), "b": CrashRecord(1, 3)}
    assert inflight_tracker.claim("w2", NODE, ["done"]).suspicions == {}


def test_a_worker_that_died_while_it_decoded_suspects_leaves_only_those_blamed(inflight_tracker: InFlightTracker):
    inflight_tracker.claim("w1", NODE, ["a", "b", "c"])
    inflight_tracker.decodes("w1", ["b"])
    assert inflight_tracker.claim("w2", NODE, ["a", "b", "c"]).suspicions == {"b": CrashRecord(1, 1)}


def test_a_worker_that_went_with_its_node_leaves_nobody_suspected(inflight_tracker: InFlightTracker):
    inflight_tracker.claim("w1", "a node that is drained", ["a", "b"])
    assert inflight_tracker.claim("w2", NODE, ["a", "b"]).suspicions == {}


def test_rows_that_another_worker_had_begun_are_counted(inflight_tracker: InFlightTracker):
    inflight_tracker.claim("w1", NODE, ["a", "b", "c"])
    assert inflight_tracker.claim("w1", NODE, ["a"]).again == 0
    assert inflight_tracker.claim("w2", NODE, ["b", "c", "d"]).again == 2


def test_deaths_of_engines_and_of_workers_add_up(inflight_tracker: InFlightTracker):
    inflight_tracker.claim("w1", NODE, ["a", "b"])
    inflight_tracker.died(["a", "b"])
    inflight_tracker.decodes("w1", ["a"])
    assert inflight_tracker.claim("w2", NODE, ["a", "b"]).suspicions == {"a": CrashRecord(2, 1), "b": CrashRecord(1, 2)}


def test_a_worker_that_was_taken_for_gone_and_lived_ends_no_other_workers_hold(inflight_tracker: InFlightTracker):
    inflight_tracker.claim("w1", NODE, ["a"])
    inflight_tracker.claim("w2", NODE, ["a"])
    inflight_tracker.finish("w1", ["a"])
    assert inflight_tracker.claim("w3", NODE, ["a"]).suspicions == {"a": CrashRecord(2, 1)}


def test_how_far_a_row_is_outlives_its_worker_and_is_forgotten_with_its_block(inflight_tracker: InFlightTracker):
    inflight_tracker.claim("w1", "a node that is drained", ["a", "b"])
    inflight_tracker.save_checkpoint("a", {"text": "one round"})
    inflight_tracker.save_checkpoint("a", {"text": "two rounds"})
    assert inflight_tracker.claim("w2", NODE, ["a", "b"]).checkpoint == {"a": {"text": "two rounds"}}
    inflight_tracker.finish("w2", ["a", "b"])
    inflight_tracker.save_checkpoint("a", {"text": "told too late"})
    assert inflight_tracker.claim("w3", NODE, ["a"]).checkpoint == {}


@given(crowd=st.integers(1, 5_000), max_deaths=st.integers(1, 12))
def test_a_row_that_dies_in_every_crowd_it_may_meet_is_settled_in_as_many_deaths(crowd: int, max_deaths: int):
    known = record_crash({}, [str(number) for number in range(crowd)])
    rows = ["0"]
    while not known["0"].is_settled(max_deaths):
        rows = list(known)[: known["0"].room(max_deaths)]
        known |= record_crash(known, rows)
    assert known["0"].deaths == max(max_deaths, 1 if crowd == 1 else 2)
    assert len(rows) == 1


def test_crowds_shrink_by_the_same_factor_at_each_death():
    assert CrashRecord(1, 512).room(3) == 22
    assert CrashRecord(2, 22).room(3) == 1
    assert [CrashRecord(1, 512).room(5), CrashRecord(2, 107).room(5), CrashRecord(3, 22).room(5)] == [107, 22, 4]
