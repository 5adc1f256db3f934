"""The tally: what workers report adds up by pool, over restarts."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.cluster.progress import MOST_NOTES, SILENT_SECONDS, ProgressReporter, ProgressTracker
from tests.unit.cluster.local_actors import LocalActor


def test_the_counters_of_a_pools_workers_add_up_restarted_ones_too():
    progress_tracker = ProgressTracker()
    progress_tracker.report("model", "first", False, Counter(tokens=100, rows_out=3))
    progress_tracker.report("model", "its successor", True, Counter(tokens=10))
    progress_tracker.report("guard", "g", True, Counter(rows_out=2))

    progress = progress_tracker.progress()

    assert progress["model"].counts == Counter(tokens=110, rows_out=3)
    assert (progress["model"].ready, progress["guard"].ready) == (1, 1)
    assert progress["guard"].counts == Counter(rows_out=2)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=20))
def test_only_the_last_report_of_a_worker_counts_however_often_it_comes(reports: list[tuple[str, int]]):
    progress_tracker = ProgressTracker()
    for worker, tokens in reports:
        progress_tracker.report("model", worker, True, Counter(tokens=tokens))
        progress_tracker.report("model", worker, True, Counter(tokens=tokens))
    if reports:
        assert progress_tracker.progress()["model"].counts["tokens"] == sum(dict(reports).values())
    else:
        assert progress_tracker.progress() == {}


def test_two_reporters_of_a_pool_are_two_workers():
    progress_tracker = ProgressTracker()
    for _ in range(2):
        reporter = ProgressReporter(LocalActor(progress_tracker), "model")
        reporter.set_ready(True)
        reporter.add(tokens=5, rows_out=1)
        reporter.add(tokens=1)
        reporter.report()

    progress = progress_tracker.progress()["model"]
    assert (progress.ready, progress.counts) == (2, Counter(tokens=12, rows_out=2))


def test_a_silent_worker_is_dead_and_holds_nothing_in_flight():
    now = 0.0
    progress_tracker = ProgressTracker(lambda: now)
    progress_tracker.report("model", "dies", True, Counter(rows_in=64, rows_out=32, tokens=900))
    now = SILENT_SECONDS + 1
    progress_tracker.report("model", "lives", True, Counter(rows_in=8))

    progress = progress_tracker.progress()["model"]

    assert progress.ready == 1
    assert progress.counts == Counter(rows_in=32 + 8, rows_out=32, tokens=900)


def test_notes_of_a_pool_are_shown_in_order_and_are_not_endless():
    progress_tracker = ProgressTracker()
    reporter = ProgressReporter(LocalActor(progress_tracker), "model")
    reporter.report()
    for number in range(MOST_NOTES + 5):
        reporter.note(f"note {number}")

    notes = progress_tracker.progress()["model"].notes

    assert notes[:2] == ("note 0", "note 1")
    assert len(notes) == MOST_NOTES


def test_what_engines_load_is_no_count_of_the_pool():
    progress_tracker = ProgressTracker()
    progress_tracker.report("model", "first", False, Counter(loaded_megabytes=100))
    progress_tracker.report("model", "second", True, Counter(loaded_megabytes=20, rows_out=3))

    seen = progress_tracker.progress()["model"]

    assert (seen.loaded_megabytes, seen.counts) == (120, Counter(rows_out=3))
