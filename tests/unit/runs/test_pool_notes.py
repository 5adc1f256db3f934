"""Notes of pools on the driver's screen."""

from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.runs.progress import PoolNotes, Silent


def test_each_note_is_shown_once_with_its_pool():
    observer = Silent()
    notes = PoolNotes(observer)

    notes.show({"model": PoolProgress(notes=("waiting",))})
    notes.show({"model": PoolProgress(notes=("waiting", "started")), "demo-guard": PoolProgress(notes=("waiting",))})
    notes.show({"model": PoolProgress(notes=("waiting", "started"))})

    assert observer.sentences == ["model: waiting", "model: started", "demo-guard: waiting"]
