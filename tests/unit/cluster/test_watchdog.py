"""The watchdog: what counts as progress, and which pool it names."""

from collections import Counter
from dataclasses import replace

import pytest

from safechain_ray.cluster.pipeline import Watchdog, stuck_pool
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.errors import StallError

POOLS = ("model", "guard")
ROWS = 40
MINUTE = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pool(ready: int = 1, rows_in: int = 0, rows_out: int = 0, **counts: int) -> PoolProgress:
    return PoolProgress(ready, Counter(rows_in=rows_in, rows_out=rows_out, **counts))


def test_nothing_that_moves_for_the_timeout_is_an_error_with_the_way_on(clock: Clock):
    watchdog = Watchdog(POOLS, ROWS, 30 * MINUTE, clock)
    watchdog.check({}, 0)
    clock.now += 30 * MINUTE - 1
    watchdog.check({}, 0)
    clock.now += 1
    with pytest.raises(StallError, match=r"No progress for 30\.0 minutes.*Rerun the command.*--stall-timeout"):
        watchdog.check({}, 0)


@pytest.mark.parametrize(
    ("progress", "committed"),
    [
        ({"model": pool(rows_in=8, tokens=11)}, 0),
        ({"model": pool(rows_in=8, tokens=10)}, 8),
        ({"model": pool(2, rows_in=8, tokens=10)}, 0),
        ({"model": pool(rows_in=8, tokens=10), "guard": pool()}, 0),
        ({"model": replace(pool(rows_in=8, tokens=10), loaded_megabytes=64)}, 0),
    ],
    ids=["a token", "a commit", "an engine", "a pool", "weights that are loading"],
)
def test_anything_that_moves_starts_the_wait_again(clock: Clock, progress: dict[str, PoolProgress], committed: int):
    watchdog = Watchdog(POOLS, ROWS, 30 * MINUTE, clock)
    watchdog.check({"model": pool(rows_in=8, tokens=10)}, 0)
    clock.now += 29 * MINUTE
    watchdog.check(progress, committed)
    clock.now += 29 * MINUTE
    watchdog.check(progress, committed)
    clock.now += MINUTE
    with pytest.raises(StallError):
        watchdog.check(progress, committed)


def test_time_in_which_the_store_does_not_answer_does_not_count(clock: Clock):
    silent = True
    watchdog = Watchdog(POOLS, ROWS, MINUTE, clock, excused=lambda: silent)
    watchdog.check({}, 0)
    clock.now += 10 * MINUTE
    watchdog.check({}, 0)
    silent = False
    clock.now += MINUTE - 1
    watchdog.check({}, 0)
    clock.now += 1
    with pytest.raises(StallError):
        watchdog.check({}, 0)


def test_counters_that_stand_still_in_the_same_mapping_are_no_progress(clock: Clock):
    watchdog = Watchdog(POOLS, ROWS, MINUTE, clock)
    progress = {"model": pool(tokens=10)}
    watchdog.check(progress, 0)
    progress["model"].counts.update(tokens=1)
    clock.now += MINUTE
    watchdog.check(progress, 0)
    clock.now += MINUTE
    with pytest.raises(StallError):
        watchdog.check(progress, 0)


@pytest.mark.parametrize(
    ("progress", "says"),
    [
        ({}, "'model' has no engine that is ready"),
        ({"model": pool(0)}, "'model' has no engine that is ready"),
        ({"model": pool(1)}, "'guard' has no engine that is ready"),
        ({"model": pool(0, 30, 30), "guard": pool(1, 30, 30)}, "'model' lost its engines after 30 of 40 rows"),
        ({"model": pool(0, 40, 40), "guard": pool(0, 30, 30)}, "'guard' lost its engines after 30 of 40 rows"),
        ({"model": pool(0, 40, 40), "guard": pool(1, 40, 30)}, "'guard' holds 10 rows that its engines do not finish"),
        ({"model": pool(1, 40, 30), "guard": pool(1, 30, 30)}, "'model' holds 10 rows that its engines do not finish"),
        ({"model": pool(1, 40, 40), "guard": pool(1, 40, 35)}, "'guard' holds 5 rows that its engines do not finish"),
        ({"model": pool(1, 40, 40), "guard": pool(1, 40, 40)}, "Every pool is idle: the stream itself is stuck"),
    ],
)
def test_the_pool_that_holds_the_run_up_is_named(progress: dict[str, PoolProgress], says: str):
    assert says in stuck_pool(POOLS, ROWS, progress)
