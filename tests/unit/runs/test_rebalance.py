"""When a GPU moves between the pools of a running stage, by what the pools report."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.cluster.planner import PlannedPool, PoolNeeds
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.runs.rebalance import LEAST_SECONDS_LEFT, WINDOW_SECONDS, Move, Rebalance

SLOTS, BLOCK_ROWS = 256, 32
MODEL, JUDGE = 0, 1
TO_JUDGE, TO_MODEL = Move(MODEL, JUDGE), Move(JUDGE, MODEL)


def pool(name: str, replicas: int, **needs: Any) -> PlannedPool:
    return PlannedPool(PoolNeeds(name, "x", "cuda", 2, **{"gpus": 1, "memory": 2, "wanted": None, **needs}), replicas)


class Stage:
    """Pools that report the same load each second."""

    def __init__(self, *pools: PlannedPool) -> None:
        self.now = 0.0
        self.done = 0
        self.pools = pools
        self.ready = [each.replicas for each in pools]
        self.rebalance = Rebalance(pools, [SLOTS] * len(pools), BLOCK_ROWS, lambda: self.now)

    def moves(self, *in_flight: int, seconds: float = WINDOW_SECONDS, rows_left: int = 10**6) -> list[Move]:
        """The moves within some seconds, whose replicas are ready at once."""
        found = []
        for _ in range(int(seconds) + 1):
            self.now += 1
            self.done += 10
            if move := self.rebalance.note(self._progress(in_flight), rows_left):
                found.append(move)
                self.ready[move.donor] = max(1, self.ready[move.donor] - 1)
                self.ready[move.receiver] += 1
        return found

    def _progress(self, in_flight: tuple[int, ...]) -> Mapping[str, PoolProgress]:
        return {
            each.needs.pool: PoolProgress(ready, Counter(rows_in=self.done + rows, rows_out=self.done))
            for each, ready, rows in zip(self.pools, self.ready, in_flight, strict=True)
        }


def test_a_judge_that_is_full_gets_a_gpu_of_a_model_that_waits_for_it():
    stage = Stage(pool("model", 3), pool("guard", 1))
    assert stage.moves(100, 2 * SLOTS, seconds=WINDOW_SECONDS - 1) == []
    assert stage.moves(100, 2 * SLOTS, seconds=1) == [TO_JUDGE]
    assert stage.rebalance.describe(TO_JUDGE) == (
        "guard has more work than its replicas can do, and model has less. A GPU moves from model (now 2) to guard "
        "(now 2)."
    )


def test_a_judge_that_mostly_waits_gives_a_gpu_to_a_model_that_is_full():
    stage = Stage(pool("model", 2), pool("guard", 2))
    assert stage.moves(2 * SLOTS, 0) == [TO_MODEL]
    assert stage.moves(3 * SLOTS, 0, seconds=1000) == []  # it has one replica left


def test_a_judge_that_always_has_a_block_for_each_replica_keeps_them():
    stage = Stage(pool("model", 2), pool("guard", 2))
    assert stage.moves(2 * SLOTS, BLOCK_ROWS + 1, seconds=1000) == []


def test_a_model_that_could_not_do_with_less_keeps_its_replicas():
    stage = Stage(pool("model", 2), pool("guard", 1))
    assert stage.moves(SLOTS, 2 * SLOTS, seconds=1000) == []


def test_what_has_moved_never_moves_back():
    stage = Stage(pool("model", 3), pool("guard", 2))
    assert stage.moves(0, 2 * SLOTS) == [TO_JUDGE]
    assert stage.moves(3 * SLOTS, 0, seconds=1000) == []


def test_nothing_moves_near_the_end_or_while_a_replica_loads():
    rows_left = int(10 * LEAST_SECONDS_LEFT)
    assert Stage(pool("model", 3), pool("guard", 1)).moves(0, 300, rows_left=rows_left - 1) == []
    assert Stage(pool("model", 3), pool("guard", 1)).moves(0, 300, rows_left=rows_left) == [TO_JUDGE]
    stage = Stage(pool("model", 3), pool("guard", 2))
    for stage.ready in ([3, 1], [3, 0], [0, 2]):  # of the full pool, and of any
        assert stage.moves(0, 600, seconds=1000) == []
    stage.ready = [3, 2]
    assert stage.moves(0, 600, seconds=WINDOW_SECONDS - 1) == []


def test_a_pool_whose_idle_replicas_ray_data_has_ended_gives_their_gpu():
    stage = Stage(pool("model", 3), pool("guard", 1))
    stage.ready = [1, 1]
    assert stage.moves(100, 2 * SLOTS) == [TO_JUDGE]


def test_a_judge_that_waits_gives_its_gpu_to_another_judge():
    stage = Stage(pool("model", 2), pool("guard", 2), pool("other", 1))
    assert stage.moves(SLOTS + 10, 0, SLOTS) == [Move(1, 2)]


@pytest.mark.parametrize(
    "pools",
    [
        (pool("model", 3, wanted=3), pool("guard", 1)),
        (pool("model", 3), pool("guard", 1, wanted=1)),
        (pool("model", 1, gpus=0.5), pool("guard", 1, gpus=0.5)),
        (pool("model", 3), pool("guard", 1, gpus=0)),
        (pool("model", 3),),
    ],
    ids=["replicas", "judge_replicas", "one GPU", "endpoint", "model alone"],
)
def test_pools_of_fixed_size_are_not_watched(pools: tuple[PlannedPool, ...]):
    assert not Stage(*pools).rebalance.may_move


def test_a_replica_of_one_gpu_is_none_for_a_pool_that_takes_two():
    stage = Stage(pool("model", 3), pool("guard", 1, gpus=2))
    assert stage.moves(0, 2 * SLOTS) == []
    assert Stage(pool("model", 3, gpus=2), pool("guard", 1)).moves(0, 2 * SLOTS) == [TO_JUDGE]


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=3),
    st.lists(st.lists(st.integers(0, 2000), min_size=3, max_size=3), max_size=8),
)
def test_no_pool_loses_its_last_replica_and_none_appears(replicas: list[int], loads: list[list[int]]):
    stage = Stage(*(pool(f"pool {place}", count) for place, count in enumerate(replicas)))
    moves = [move for load in loads for move in stage.moves(*load[: len(replicas)])]
    assert min(stage.ready) >= 1
    assert sum(stage.ready) == sum(replicas)
    assert not {(move.receiver, move.donor) for move in moves} & {(move.donor, move.receiver) for move in moves}
