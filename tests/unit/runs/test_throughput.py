"""The pace: speeds over the last minutes, whatever was before."""

from collections import Counter

from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.runs.progress import ROW_SECONDS, PoolRate, PoolRates, Throughput


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_look_has_no_speed():
    pace = Throughput(Clock())
    assert (pace.rows_per_second, pace.tokens_per_second) == (None, None)
    pace.note(0, 0)
    assert (pace.rows_per_second, pace.tokens_per_second) == (None, None)


def test_the_loading_of_engines_is_forgotten_after_a_minute_for_tokens_and_after_ten_for_rows():
    clock = Clock()
    pace = Throughput(clock)
    for second in range(0, 961, 10):
        clock.now = float(second)
        at_work = max(0, second - 360)  # six minutes of loading, then 10 rows and 1,000 tokens a second
        pace.note(10 * at_work, 1000 * at_work)
    assert (pace.rows_per_second, pace.tokens_per_second) == (10.0, 1000.0)


def test_a_standstill_shows_within_a_minute_in_tokens():
    clock = Clock()
    pace = Throughput(clock)
    for second in range(0, 200, 5):
        clock.now = float(second)
        pace.note(second, 100 * min(second, 120))
    assert pace.tokens_per_second == 0.0


def test_a_pause_longer_than_the_window_leaves_no_speed_rather_than_a_wrong_one():
    clock = Clock()
    pace = Throughput(clock)
    pace.note(0, 0)
    clock.now = 3 * ROW_SECONDS
    pace.note(100, 100)
    assert (pace.rows_per_second, pace.tokens_per_second) == (None, None)


def test_looks_at_short_intervals_are_not_all_kept():
    clock = Clock()
    pace = Throughput(clock)
    for half in range(4000):
        clock.now = half / 2
        pace.note(half, half)
    assert len(pace._seen) <= ROW_SECONDS + 1


def pool(ready: int, rows: int, tokens: int = 0) -> dict[str, PoolProgress]:
    return {"model": PoolProgress(ready, Counter(rows_out=rows, tokens=tokens))}


def test_a_pools_rates_begin_when_a_replica_is_ready_so_that_loading_does_not_count():
    clock = Clock()
    rates = PoolRates(clock)
    assert rates.note(pool(0, 0)) == {}
    clock.now = 300.0
    assert rates.note(pool(1, 0)) == {"model": PoolRate()}
    clock.now = 310.0
    assert rates.note(pool(1, 50, 4000)) == {"model": PoolRate(5.0, 400.0)}


def test_a_pools_rates_are_those_of_the_last_minute():
    clock = Clock()
    rates = PoolRates(clock)
    for second in range(200):
        clock.now = float(second)
        seen = rates.note(pool(1, 100 * min(second, 100) + max(0, second - 100)))
    assert seen["model"].rows_per_second == 1.0
