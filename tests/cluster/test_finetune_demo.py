"""The demo reasoner fine-tuned by two workers of a real Ray cluster, its output in an object store."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from safechain_ray.commands.finetune.finetune import FineTuning, TrainingRecorder, finetune
from safechain_ray.commands.finetune.resolve import (
    resolve_base_model,
    resolve_training_data,
)
from safechain_ray.config import FinetuneConfig, read_config_as
from safechain_ray.errors import RunConflictError
from tests.s3_server import Store
from tests.small_training import BASE, loss_of

CONFIG = Path(__file__).parents[2] / "configs" / "paper" / "finetune_r1_7b.yaml"


def tuned(address: str, output: str, reporter: TrainingRecorder | None = None, **keys: Any) -> FineTuning:
    own = {"output": output, "resources.ray_address": address, "training.epochs": 1, "training.save_every": 4}
    return finetune(read_config_as(FinetuneConfig, CONFIG, own | keys, profile="demo"), reporter or TrainingRecorder())


@pytest.fixture(scope="module")
def done(one_driver: None, cluster_address: str, store: Store) -> tuple[FineTuning, TrainingRecorder]:
    reporter = TrainingRecorder()
    kept = {"training.report_to": ["tensorboard"]}
    return tuned(cluster_address, store.uri("finetuned"), reporter, **kept), reporter


def test_the_model_in_the_output_is_a_plain_one_that_learnt(done: tuple[FineTuning, TrainingRecorder], tmp_path: Path):
    tuning, _ = done
    for file in tuning.model.list_facts():
        tuning.model.fetch(file, tmp_path / file.name)
    config = read_config_as(FinetuneConfig, CONFIG, {}, profile="demo")
    held_out = resolve_training_data(config, resolve_base_model(config.model)).held_out
    assert held_out is not None
    before, after = loss_of(Path(BASE), held_out), loss_of(tmp_path, held_out)
    assert after < 0.97 * before, (before, after)
    # That of the trainer is the mean over packed sequences, this one over tokens.
    assert after == pytest.approx(tuning.record.evaluation_loss, abs=0.02)
    assert "think" in AutoTokenizer.from_pretrained(tmp_path).chat_template


def test_the_output_holds_whole_checkpoints_metrics_and_the_record(done: tuple[FineTuning, TrainingRecorder]):
    tuning, reporter = done
    record = json.loads(tuning.folder.read_text("finetune.json"))
    assert record == json.loads(tuning.record.to_json())
    steps = record["steps"]
    assert [attempt["status"] for attempt in record["tries"]] == ["done"]
    assert record["training_set"]["learnt"]["examples"] + record["training_set"]["held_out"]["examples"] == 120
    checkpoints = tuning.folder / "checkpoints"
    assert checkpoints.list_folders() == ["step-000004", f"step-{steps:06}"]
    manifest = json.loads((checkpoints / "step-000004").read_text("manifest.json"))
    assert {"rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"} <= {file["name"] for file in manifest["files"]}
    lines = [json.loads(line) for line in tuning.folder.read_text("metrics.jsonl").splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, steps + 1))
    assert reporter.last is not None
    assert (reporter.last.step, reporter.last.steps) == (steps, steps)


def test_what_tensorboard_wrote_lies_in_the_output(done: tuple[FineTuning, TrainingRecorder], tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tuning, _ = done
    (run,) = (tuning.folder / "runs").list_folders()
    for file in (tuning.folder / "runs" / run).list_facts():
        (tuning.folder / "runs" / run).fetch(file, tmp_path / file.name)
    events = EventAccumulator(str(tmp_path)).Reload()
    lines = [json.loads(line) for line in tuning.folder.read_text("metrics.jsonl").splitlines()]
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert {each.step: each.value for each in events.Scalars("train/loss")} == pytest.approx(losses)


def test_a_finished_training_starts_no_worker(
    done: tuple[FineTuning, TrainingRecorder], cluster_address: str, store: Store
):
    reporter = TrainingRecorder()
    again = tuned(cluster_address, store.uri("finetuned"), reporter)
    assert again.record == done[0].record
    assert reporter.sentences == ["The training is finished already: no worker is started."]


def test_another_training_in_the_same_output_is_refused_with_the_difference(
    done: tuple[FineTuning, TrainingRecorder], cluster_address: str, store: Store
):
    with pytest.raises(RunConflictError, match=r"learning_rate: 0\.001 -> 0\.002"):
        tuned(cluster_address, store.uri("finetuned"), **{"training.learning_rate": 2e-3})
