"""Runs and trainings know the weights of their model, by more than the name of their folder."""

import shutil
from pathlib import Path

import pytest

from safechain_ray.commands.finetune.record import FinetuneRecord
from safechain_ray.commands.finetune.resolve import (
    finetune_identity,
    resolve_base_model,
    resolve_training_data,
)
from safechain_ray.config import FinetuneConfig, read_config_as
from safechain_ray.config import read_config as read_config_of_run
from safechain_ray.demo import model_path
from safechain_ray.engines.weights import StoredModel
from safechain_ray.errors import RunConflictError
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.identity import CHUNK_BYTES, CHUNKS, weights_fingerprint
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import resolve
from safechain_ray.storage import FileFacts, open_folder

WEIGHTS = "model.safetensors"

LARGE = 4 * CHUNKS * CHUNK_BYTES + 99


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return shutil.copytree(model_path("demo-reasoner"), tmp_path / "base")


def read_config(model: str) -> FinetuneConfig:
    keys = {"model.name": model, "model.family": "demo", "training_set": "quickstart-demonstrations", "output": "x"}
    return read_config_as(FinetuneConfig, None, keys)


def retrain(base: Path, place: int) -> None:
    """Other values in one byte, as of another training; size and name stay."""
    with open(base / WEIGHTS, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def test_a_copy_has_the_same_weights_and_a_changed_byte_makes_others(base: Path, tmp_path: Path):
    copy = shutil.copytree(base, tmp_path / "copy", copy_function=shutil.copyfile)
    assert weights_fingerprint(str(copy)) == weights_fingerprint(str(base))
    retrain(copy, place=1_000_000)
    assert weights_fingerprint(str(copy)) != weights_fingerprint(str(base))


@pytest.mark.parametrize("place", [0, (LARGE - CHUNK_BYTES) // 3, LARGE - 1])
def test_a_large_file_is_read_in_pieces_from_its_beginning_to_its_end(base: Path, place: int):
    with open(base / WEIGHTS, "wb") as file:
        file.truncate(LARGE)
    before = weights_fingerprint(str(base))
    retrain(base, place)
    assert weights_fingerprint(str(base)) != before


def test_weights_in_a_store_are_known_by_what_it_lists_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fingerprint(**other: int) -> str | None:
        weights = {"size": 10, "modified": 1} | other
        files = (FileFacts("config.json", 5, other.get("modified", 1)), FileFacts(WEIGHTS, **weights))
        stored = StoredModel(open_folder(str(tmp_path)), files)
        monkeypatch.setattr(StoredModel, "at", lambda uri: stored)
        return weights_fingerprint("s3://bucket/model")

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(size=11), fingerprint(modified=2)}) == 3


def test_a_model_of_the_hub_is_known_by_its_id_and_revision():
    assert weights_fingerprint("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B") is None


def opened(output: Path, base: Path, leave_out: str = "") -> FinetuneRecord:
    config = read_config(str(base))
    trainee = resolve_base_model(config.model)
    identity = finetune_identity(config, trainee, resolve_training_data(config, trainee))
    kept = {key: value for key, value in identity.items() if key != leave_out}
    return FinetuneRecord.opened(open_folder(str(output)), kept, {}, {})


def test_a_training_whose_base_was_trained_anew_is_another_one(base: Path, tmp_path: Path):
    first = opened(tmp_path / "out", base)
    assert opened(tmp_path / "out", base).training == first.training
    retrain(base, place=1_000_000)
    with pytest.raises(RunConflictError, match=r"holds another training.*\n  weights: \"\w+\" -> \"\w+\""):
        opened(tmp_path / "out", base)


def test_a_training_whose_record_says_nothing_of_weights_goes_on_under_its_name(base: Path, tmp_path: Path):
    earlier = opened(tmp_path / "out", base, leave_out="weights")
    assert opened(tmp_path / "out", base).training == earlier.training


def run_opened(output: Path, model: Path, leave_out: str = "") -> RunRecord:
    flags = {"model.name": str(model), "model.family": "demo", "output": str(output), "judges": ["refusal-match"]}
    config = read_config_of_run(None, flags | {"datasets": ["quickstart"]}, ())
    identity = resolve(config).identity()
    identity["model"] = {key: value for key, value in identity["model"].items() if key != leave_out}
    return RunRecord.resumed(RunFolder(open_folder(str(output))), config, identity, {})


def test_a_run_of_a_model_that_was_trained_anew_in_its_folder_is_another_one(base: Path, tmp_path: Path):
    run_opened(tmp_path / "out", base)
    run_opened(tmp_path / "out", base)
    (tmp_path / "out" / "metrics.json").touch()
    retrain(base, place=1_000_000)
    with pytest.raises(RunConflictError, match=r"holds another run.*\n  model\.weights: other content"):
        run_opened(tmp_path / "out", base)


def test_a_run_whose_record_says_nothing_of_weights_goes_on(base: Path, tmp_path: Path):
    run_opened(tmp_path / "out", base, leave_out="weights")
    run_opened(tmp_path / "out", base)
