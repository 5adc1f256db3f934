"""What the driver makes of the workers' news: metrics.jsonl, finetune.json, sentences and snapshots."""

import json
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.cluster.training.events import TRAINING, Finished, Logged, Note, Phase, Started, StepDone
from safechain_ray.commands.finetune.finetune import TrainingLog, TrainingRecorder
from safechain_ray.commands.finetune.plan import plan_training
from safechain_ray.commands.finetune.record import FinetuneRecord
from safechain_ray.commands.finetune.resolve import resolve_base_model
from safechain_ray.config import FinetuneConfig, read_config_as
from safechain_ray.errors import InputError, RunConflictError, StorageError
from safechain_ray.storage import Folder, open_folder

CPUS = ClusterView((Node("laptop", 16, 0, 20),))
DONE = Finished(steps=3, loss=0.5, evaluation_loss=None, tokens=900, seconds=2.0)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return open_folder(str(tmp_path))


def opened(folder: Folder, **identity: Any) -> FinetuneRecord:
    return FinetuneRecord.opened(folder, {"model": "m"} | identity, {"a": 1}, {"training_set": {}})


def started(folder: Folder) -> FinetuneRecord:
    record = opened(folder)
    config = read_config_as(
        FinetuneConfig, None, {"model": "demo-reasoner", "training_set": "safechain", "output": "x"}
    )
    record.started(plan_training(config, resolve_base_model(config.model), CPUS), CPUS)
    return record


def stored(folder: Folder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(folder.read_text("finetune.json"))
    return found


def test_a_try_that_was_killed_is_told_by_the_next_one(folder: Folder):
    started(folder)
    assert stored(folder)["tries"][0]["status"] == "running"
    record = started(folder)
    record.began(2)
    record.ended(None)
    record.finished(DONE)
    tries = stored(folder)["tries"]
    assert [(each["status"], each["resumed_from"]) for each in tries] == [("cut off", None), ("done", 2)]
    assert {"python", "torch", "trl", "accelerate"} <= tries[1]["versions"].keys()
    assert tries[1]["memory_plan"]["gigabytes"] > 3
    assert tries[1]["hardware"][0]["node"] == "laptop"
    assert (stored(folder)["loss"], stored(folder)["tokens"]) == (0.5, 900)
    assert opened(folder).is_finished


def test_how_a_try_ended_stands_in_it(folder: Folder):
    for error, status in (
        (StorageError("No room."), "failed: No room."),
        (ValueError("x"), "failed: ValueError('x')"),
        (KeyboardInterrupt(), "interrupted"),
    ):
        started(folder).ended(error)
        assert stored(folder)["tries"][-1]["status"] == status


def test_another_training_is_refused_with_the_difference(folder: Folder):
    opened(folder, learning_rate=1e-5)
    with pytest.raises(RunConflictError, match=r"learning_rate: 1e-05 -> 2e-05"):
        opened(folder, learning_rate=2e-5)


def test_a_record_that_is_none_is_refused(folder: Folder):
    folder.write_text("finetune.json", "[]")
    with pytest.raises(InputError, match="no record of a training"):
        opened(folder)


def test_metrics_hold_what_was_logged_before_a_stop_and_after_it(folder: Folder):
    reporter = TrainingRecorder()
    log = TrainingLog(folder, started(folder), reporter)
    log.receive(Started(0, ()))
    for step in (1, 2, 3):
        log.receive(Logged({"step": step, "loss": 1.0 / step, "num_tokens": 100.0 * step}))
    log.receive(Started(2, ({"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5, "num_tokens": 200.0})))
    log.receive(Logged({"step": 3, "loss": 0.25, "num_tokens": 300.0}))
    log.close()
    lines = [json.loads(line) for line in folder.read_text("metrics.jsonl").splitlines()]
    assert [line["loss"] for line in lines] == [1.0, 0.5, 0.25]
    assert "The training resumes after step 2." in reporter.sentences
    assert stored(folder)["tries"][-1]["started_again_from"] == [2]


def test_snapshots_say_what_the_workers_do_and_how_far_they_are(folder: Folder):
    reporter = TrainingRecorder()
    log = TrainingLog(folder, started(folder), reporter)
    log.receive(Phase("loading the model"))
    assert reporter.last is not None
    assert (reporter.last.phase, reporter.last.steps) == ("loading the model", 0)
    log.receive(Started(10, ()))
    log.receive(StepDone(11, 20))
    log.receive(Logged({"step": 11, "loss": 0.5, "num_tokens": 300.0}))
    log.receive(Note("The store answers again."))
    last = reporter.last
    assert (last.phase, last.step, last.steps, last.logged["loss"]) == (TRAINING, 11, 20, 0.5)
    assert last.steps_per_second is not None
    assert last.seconds_left == pytest.approx(9 / last.steps_per_second)
    assert reporter.sentences[-1] == "The store answers again."
