"""What becomes of a training whose workers die or fail: started again, or ended with what a person can fix."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.train import PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from safechain_ray.catalog import families
from safechain_ray.cluster.training import run as training_run
from safechain_ray.cluster.training.events import EventLog, Failed, Finished, Started, TrainingEvent
from safechain_ray.cluster.training.run import Workers, run_training
from safechain_ray.cluster.training.worker import TrainingTask
from safechain_ray.config import TrainingOptions
from safechain_ray.errors import SafechainError, StallError, StorageError
from safechain_ray.storage import open_folder
from tests.unit.cluster.local_actors import LocalActor

DONE = Finished(steps=5, loss=0.5, evaluation_loss=None, tokens=10, seconds=1.0)
DIED = WorkerGroupError("actor died", {1: RuntimeError("The actor died.")})
FULL = StorageError("No room in /scratch.")
TAKEN_BACK = PreemptionError(PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"node": [1]}))


class Fits:
    """A trainer that does one thing after another, each time that it is asked to fit."""

    def __init__(self, event_log: EventLog, *goes: Callable[[EventLog], None]) -> None:
        self._event_log = event_log
        self._goes = list(goes)

    def fit(self) -> None:
        self._goes.pop(0)(self._event_log)


def dies(error: Exception, *events: TrainingEvent) -> Callable[[EventLog], None]:
    def go(event_log: EventLog) -> None:
        for each in events:
            event_log.append(each)
        raise error

    return go


def ends(event_log: EventLog) -> None:
    event_log.append(DONE)


def collateral(rank: int) -> Failed:
    return Failed(rank, "RuntimeError: Connection closed by peer", None)


def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *goes: Callable[[EventLog], None], stall: float = 60.0
) -> tuple[Finished, list[str], list[TrainingEvent]]:
    event_log = EventLog()
    trainer = Fits(event_log, *goes)
    monkeypatch.setattr(training_run, "_trainer", lambda *arguments: trainer)
    monkeypatch.setattr(training_run, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(training_run.ray, "get", lambda found, timeout: found)
    task = TrainingTask(
        model="m",
        revision=None,
        family=families()["demo"],
        chat_template=None,
        learnt=None,
        held_out=None,
        options=TrainingOptions(),
        output=open_folder(str(tmp_path)),
        training="t",
        scratch=None,
        storage_timeout=1.0,
        event_log=LocalActor(event_log),
    )
    workers = Workers(2, on_gpus=False, cpus=1.0, accelerator=None, max_deaths=2, stall_seconds=stall)
    heard: list[TrainingEvent] = []
    said: list[str] = []
    done = run_training(task, workers, tmp_path, heard.append, said.append)
    return done, said, heard


def test_workers_start_again_after_one_died_and_who_it_was_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    first = dies(DIED, Started(0, ()), collateral(0))
    done, said, heard = run(monkeypatch, tmp_path, first, ends)
    assert done == DONE
    assert said == ["Training worker 1 died. All workers restart from the last checkpoint (1 of at most 2 times)."]
    assert heard == [Started(0, ())]


def test_a_node_that_was_taken_back_counts_for_no_death(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    done, said, _ = run(monkeypatch, tmp_path, *[dies(TAKEN_BACK, collateral(0))] * 4, ends)
    assert done == DONE
    assert (
        said == ["A spot node with training workers was interrupted. All workers restart from the last checkpoint."] * 4
    )


def test_too_many_deaths_end_it_with_the_reason_and_the_way_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    failed = WorkerGroupError("user code", {0: RuntimeError("x"), 1: RuntimeError("x")})
    goes = [dies(failed, Failed(0, "ValueError: no such layer", None), collateral(1))] * 3
    with pytest.raises(SafechainError) as ended:
        run(monkeypatch, tmp_path, *goes)
    says = str(ended.value)
    assert "Training workers died 3 times" in says
    assert "ValueError: no such layer" in says
    assert "resume from the last checkpoint" in says
    assert str(tmp_path) in says


def test_what_only_a_person_can_fix_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(StorageError, match=r"No room in /scratch\."):
        run(monkeypatch, tmp_path, dies(DIED, collateral(1), Failed(0, "No room in /scratch.", FULL)), ends)


def test_an_error_of_the_controller_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(SafechainError, match=r"Ray Train ended the training: it is lost\. Fix: correct the cause"):
        run(monkeypatch, tmp_path, dies(ValueError("it is lost\nTraceback: many lines")))


def test_silence_is_a_stall_that_says_where_to_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from threading import Event

    never = Event()

    def waits(event_log: EventLog) -> Any:
        never.wait(5)

    with pytest.raises(StallError, match=r"No progress of the training for .* minutes.*ray status"):
        run(monkeypatch, tmp_path, waits, stall=0.1)
    never.set()
