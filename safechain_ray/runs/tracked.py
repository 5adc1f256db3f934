"""The trackers of a run: each gets the run's progress and figures on a thread of its own.

A tracker never ends a run, and delays its end by `END_SECONDS` at most. One that fails or hangs is reported.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from safechain_ray.config.parts import TrackerName
from safechain_ray.runs.progress import RunReporter, Snapshot
from safechain_ray.storage import redact
from safechain_ray.trackers.base import TrackedRun, Tracker

SEND_SECONDS = 10.0

END_SECONDS = 60.0
"""The time that the trackers have to receive the figures at the end of a run."""

FAILED_END_SECONDS = 5.0
"""The same for a run that failed or is interrupted: it has no figures, and somebody waits for its end."""

Open = Callable[[TrackedRun], Tracker]
Call = Callable[[Tracker], None]


class TrackedReporter:
    """The reporter of a run that sends each snapshot to the run's trackers too, every `SEND_SECONDS`.

    `figures` are sent when the run ends.
    """

    def __init__(self, reporter: RunReporter, trackers: Collection["_Sender"], completed: int) -> None:
        self._reporter = reporter
        self._trackers = trackers
        self._sent = 0.0
        self._step = completed
        self.figures: Mapping[str, float] = {}

    def report(self, sentence: str) -> None:
        self._reporter.report(sentence)

    def update(self, snapshot: Snapshot) -> None:
        self._reporter.update(snapshot)
        self._step = max(self._step, (snapshot.stage.number - 1) * snapshot.total + snapshot.done)
        if time.monotonic() - self._sent < SEND_SECONDS and not snapshot.is_complete:
            return
        self._sent = time.monotonic()
        values, step = progress_values(snapshot), self._step
        for sender in self._trackers:
            sender.send(lambda tracker: tracker.log(values, step))

    def end(self, failed: bool) -> None:
        """Send the figures, and wait until the trackers have them."""
        figures, step = self.figures, self._step
        for sender in self._trackers:
            sender.end(lambda tracker: tracker.finish(figures, step, failed))
        seconds = FAILED_END_SECONDS if failed else END_SECONDS
        deadline = time.monotonic() + seconds
        for sender in self._trackers:
            if not sender.ended_within(deadline - time.monotonic()) and not failed:
                self.report(
                    f"{sender.name} did not take the figures within {seconds:.0f} seconds. The run's folder has them. "
                    "Fix: rerun the command, which sends them again."
                )


@contextmanager
def tracked(
    names: Collection[TrackerName], run: TrackedRun, reporter: RunReporter, completed: int = 0
) -> Iterator[TrackedReporter]:
    """The reporter of a run for the length of a block, with the trackers `names`. `completed` rows are done already."""
    kinds = {name: LOAD[name]() for name in names}  # here, as imports on other threads disturb who walks sys.modules
    senders = [_Sender(name, kind, run, reporter.report) for name, kind in kinds.items()]
    tracked_reporter = TrackedReporter(reporter, senders, completed)
    try:
        yield tracked_reporter
    except BaseException:
        tracked_reporter.end(failed=True)
        raise
    tracked_reporter.end(failed=False)


def progress_values(snapshot: Snapshot) -> dict[str, float]:
    """The counts of all finished rows, and the rates of the pools."""
    found = snapshot.stage.found
    counts = {name: found.get(name, 0) + snapshot.committed.get(name, 0) for name in (*snapshot.committed, *found)}
    values: dict[str, float] = {f"progress/{name}": count for name, count in counts.items()}
    values["progress/rows"] = snapshot.done
    dollars = sum(pool.counts["cost_microdollars"] for pool in snapshot.pools.values()) / 1e6
    if dollars:
        values["progress/cost_dollars"] = dollars
    for pool, rate in snapshot.rates.items():
        rates = {"tokens_per_second": rate.tokens_per_second, "rows_per_second": rate.rows_per_second}
        values |= {f"pools/{pool}/{name}": each for name, each in rates.items() if each is not None}
    return values


class _Sender:
    """One tracker on its thread. It gets the latest values when it is free: earlier ones have lower counts."""

    def __init__(self, name: str, open_tracker: Open, run: TrackedRun, report: Callable[[str], None]) -> None:
        self.name = name
        self._report = report
        self._changed = threading.Condition()
        self._next: Call | None = None
        self._last: Call | None = None
        self._thread = threading.Thread(
            target=self._work, args=(open_tracker, run), name=f"tracker-{name}", daemon=True
        )
        self._thread.start()

    def send(self, call: Call) -> None:
        with self._changed:
            self._next = call
            self._changed.notify()

    def end(self, call: Call) -> None:
        with self._changed:
            self._last = call
            self._changed.notify()

    def ended_within(self, seconds: float) -> bool:
        """Whether the last call has ended, or the tracker has failed, after at most these seconds."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _work(self, open_tracker: Open, run: TrackedRun) -> None:
        tracker: Tracker | None = None
        error: Exception | None = None
        for call in self._calls():
            try:
                tracker = tracker or open_tracker(run)
                call(tracker)
                error = None
            except Exception as failure:  # the packages of trackers raise errors of many kinds
                if error is None:
                    self._report(
                        f"{self.name} failed: {redact(str(failure) or repr(failure))}. The run is not affected, and "
                        "later values are sent again. Fix: rerun the command when it is finished, which sends the "
                        "figures."
                    )
                error = failure

    def _calls(self) -> Iterator[Call]:
        """Each call when it comes, up to the last one."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next or self._last)
                call, self._next, last = self._next, None, self._last
            if call is not None:
                yield call
            if last is not None:
                yield last
                return


def _wandb() -> Open:
    from safechain_ray.trackers.wandb import WandbTracker

    return WandbTracker


def _mlflow() -> Open:
    from safechain_ray.trackers.mlflow import MlflowTracker

    return MlflowTracker


def _tensorboard() -> Open:
    from safechain_ray.trackers.tensorboard import TensorboardTracker

    return TensorboardTracker


LOAD: Mapping[TrackerName, Callable[[], Open]] = {"wandb": _wandb, "mlflow": _mlflow, "tensorboard": _tensorboard}
"""The packages are imported by the trackers that a run has."""
