"""Notes of pools on the driver's screen."""

from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.runs.progress import PoolNotes, RecordingReporter


def test_each_note_is_shown_once_with_its_pool():
    reporter = RecordingReporter()
    notes = PoolNotes(reporter)

    notes.show({"model": PoolProgress(notes=("waiting",))})
    notes.show({"model": PoolProgress(notes=("waiting", "started")), "demo-guard": PoolProgress(notes=("waiting",))})
    notes.show({"model": PoolProgress(notes=("waiting", "started"))})

    assert reporter.sentences == ["model: waiting", "model: started", "demo-guard: waiting"]
