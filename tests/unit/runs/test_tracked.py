"""Trackers of a run: what they receive, and that one which fails or hangs neither ends nor delays the run."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from safechain_ray.cluster.progress import Stage
from safechain_ray.runs import tracked as module
from safechain_ray.runs.progress import PoolRate, RecordingReporter, Snapshot
from safechain_ray.runs.tracked import progress_values, tracked
from safechain_ray.storage import open_folder
from safechain_ray.trackers.base import TrackedRun, Tracker


class Recorded:
    """A tracker that stores what it receives."""

    def __init__(self, run: TrackedRun) -> None:
        self.steps: list[int] = []
        self.finished: list[tuple[Mapping[str, float], int, bool]] = []

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.steps.append(step)

    def finish(self, figures: Mapping[str, float], step: int, failed: bool) -> None:
        self.finished.append((figures, step, failed))


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    return TrackedRun("1", "run", str(tmp_path), open_folder(str(tmp_path)), {})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    """The recorded trackers that are opened as W&B."""
    found: list[Recorded] = []

    def open_recorded(run: TrackedRun) -> Tracker:
        found.append(Recorded(run))
        return found[-1]

    monkeypatch.setitem(module.LOAD, "wandb", lambda: open_recorded)  # type: ignore[arg-type]
    return found


def at(rows: int, number: int = 1) -> Snapshot:
    return Snapshot(Stage(("model",), 10, 0, number=number, stages=2), {"rows": rows, "unsafe": 1}, {}, 1.0)


def test_a_tracker_receives_the_progress_and_then_the_figures(run: TrackedRun, opened: list[Recorded]):
    with tracked(["wandb"], run, RecordingReporter()) as reporter:
        reporter.update(at(10))
        reporter.figures = {"safe": 0.5}

    assert opened[0].steps == [10]
    assert opened[0].finished == [({"safe": 0.5}, 10, False)]


def test_the_steps_of_a_second_stage_come_after_those_of_the_first(run: TrackedRun, opened: list[Recorded]):
    with tracked(["wandb"], run, RecordingReporter()) as reporter:
        reporter.update(at(3, number=2))

    assert opened[0].finished == [({}, 13, False)]


def test_a_failed_run_is_failed_in_its_tracker_and_raises_its_own_error(run: TrackedRun, opened: list[Recorded]):
    with pytest.raises(KeyboardInterrupt), tracked(["wandb"], run, RecordingReporter()):
        raise KeyboardInterrupt

    assert [failed for _, _, failed in opened[0].finished] == [True]


def test_a_tracker_that_fails_is_reported_once_without_its_secrets(
    run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: TrackedRun) -> Tracker:
        raise OSError("no route to https://user:secret@tracker.example")

    monkeypatch.setitem(module.LOAD, "wandb", lambda: fail)  # type: ignore[arg-type]
    reporter = RecordingReporter()
    with tracked(["wandb"], run, reporter) as tracked_reporter:
        tracked_reporter.update(at(10))

    (sentence,) = reporter.sentences
    assert "wandb failed" in sentence
    assert "secret" not in sentence


def test_a_tracker_that_hangs_delays_no_progress_and_is_reported_at_the_end(
    run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(run: TrackedRun) -> Tracker:
        released.wait()
        return Recorded(run)

    monkeypatch.setitem(module.LOAD, "wandb", lambda: hang)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "END_SECONDS", 0.1)
    shown: list[Snapshot] = []
    reporter = RecordingReporter(shown.append)
    with tracked(["wandb"], run, reporter) as tracked_reporter:
        for rows in range(11):
            tracked_reporter.update(at(rows))
    released.set()

    assert len(shown) == 11
    assert "did not take the figures" in " ".join(reporter.sentences)


def test_an_error_that_passes_loses_no_figures(run: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    class Flaky(Recorded):
        def log(self, values: Mapping[str, float], step: int) -> None:
            raise OSError("connection reset")

    opened: list[Flaky] = []

    def open_flaky(run: TrackedRun) -> Tracker:
        opened.append(Flaky(run))
        return opened[-1]

    monkeypatch.setitem(module.LOAD, "wandb", lambda: open_flaky)  # type: ignore[arg-type]
    reporter = RecordingReporter()
    with tracked(["wandb"], run, reporter) as tracked_reporter:
        tracked_reporter.update(at(10))
        tracked_reporter.figures = {"safe": 0.5}

    assert [figures for figures, _, _ in opened[0].finished] == [{"safe": 0.5}]
    assert len(opened) == len(reporter.sentences) == 1


def test_a_finished_run_sends_its_figures_at_its_last_step(run: TrackedRun, opened: list[Recorded]):
    with tracked(["wandb"], run, RecordingReporter(), completed=300) as reporter:
        reporter.figures = {"safe": 0.5}

    assert opened[0].finished == [({"safe": 0.5}, 300, False)]


def test_counts_of_earlier_attempts_are_in_the_progress() -> None:
    stage = Stage(("model",), 10, 4, {"rows": 4, "unsafe": 2})
    snapshot = Snapshot(stage, {"rows": 3, "unsafe": 1}, {}, 1.0, rates={"model": PoolRate(2.0, None)})

    assert progress_values(snapshot) == {
        "progress/rows": 7,
        "progress/unsafe": 3,
        "pools/model/rows_per_second": 2.0,
    }
