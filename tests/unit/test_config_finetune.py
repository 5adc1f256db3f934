"""The config of a fine-tuning: what it takes, what it refuses, and which training set it names."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safechain_ray.commands.finetune.resolve import (
    TrainingData,
    resolve_base_model,
    resolve_training_data,
    training_set_entry,
)
from safechain_ray.config import FinetuneConfig, read_config_as
from safechain_ray.errors import InputError

FOLDER = Path(__file__).parents[2] / "configs" / "paper"


def config(**keys: Any) -> FinetuneConfig:
    usual = {"model": "R1-7B", "training_set": "safechain", "output": "runs/x"}
    return read_config_as(FinetuneConfig, None, usual | keys)


@pytest.mark.parametrize("size", ["7b", "8b"])
def test_the_papers_trainings_take_8_gpus_and_their_demo_two_workers(size: str):
    whole = read_config_as(FinetuneConfig, FOLDER / f"finetune_r1_{size}.yaml", {})
    demo = read_config_as(FinetuneConfig, FOLDER / f"finetune_r1_{size}.yaml", {}, profile="demo")
    assert (whole.model.name, whole.resources.workers, whole.training.lora) == (f"R1-{size.upper()}", 8, None)
    assert whole.training_set.held_out == 0
    assert (demo.model.name, demo.resources.workers, demo.training.precision) == ("demo-reasoner", 2, "float32")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"resources.workers": 3}, "training.sequences_a_step is 16, which 3 workers (resources.workers) can't share"),
        ({"resources.workers": 0}, "resources.workers: must be at least 1"),
        ({"training_set.held_out": 1}, "training_set.held_out: must be below 1"),
        ({"training.epochs": 0}, "training.epochs: must be above 0"),
        ({"training.precision": "fp8"}, "training.precision: must be 'bfloat16' or 'float32'"),
        ({"training.lora.rank": 0}, "training.lora.rank: must be at least 1"),
        ({"training.lr": 1}, "training.lr: is no key of the config"),
    ],
)
def test_what_can_not_be_is_refused_with_its_key(keys: dict[str, Any], says: str):
    with pytest.raises(InputError) as refusal:
        config(**keys)
    assert says in str(refusal.value)


def test_an_output_has_to_be_named():
    with pytest.raises(InputError, match="output: is missing"):
        read_config_as(FinetuneConfig, None, {"model": "R1-7B", "training_set": "safechain"})


def test_columns_are_said_of_a_set_of_ones_own_alone():
    own = config(training_set={"name": "mine.jsonl", "prompt_column": "q", "response_column": "a"}).training_set
    assert training_set_entry(own).columns == {"prompt_column": "q", "response_column": "a"}
    known = config(training_set={"name": "safechain", "prompt_column": "q"}).training_set
    with pytest.raises(InputError, match="prompt_column can't be set for safechain, whose columns are in the catalog"):
        training_set_entry(known)


def test_a_config_and_a_split_of_a_set_can_be_named():
    own = config(training_set={"name": "owner/set", "config": "math", "split": "sft"}).training_set
    entry = training_set_entry(own)
    assert (entry.config, entry.split, entry.columns) == ("math", "sft", {})


def test_an_unknown_set_and_a_model_behind_an_api_are_refused():
    with pytest.raises(InputError, match="Did you mean 'safechain'"):
        training_set_entry(config(training_set="safe-chain").training_set)
    with pytest.raises(InputError, match="is behind an API, without weights to train"):
        resolve_base_model(config(model={"name": "openai:m", "base_url": "http://localhost:1/v1"}).model)


def test_a_copy_of_the_catalogs_set_is_read_with_its_columns_and_rows(tmp_path: Path):
    copy = tmp_path / "copy.jsonl"
    copy.write_text("{}")
    entry = training_set_entry(config(training_set={"name": "safechain", "file": str(copy)}).training_set)
    assert (entry.source, entry.response_column, entry.rows) == (str(copy), "response", 40000)


def built(folder: Path) -> Path:
    """A set as `build-dataset` leaves it."""
    (folder / "data").mkdir(parents=True)
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSo."}]
    rows = pa.table({"messages": [turns] * 20, "id": list(map(str, range(20)))})
    pq.write_table(rows, folder / "data" / "train-00000-of-00001.parquet")
    return folder


def lessons_of(name: str) -> TrainingData:
    given = config(
        model="demo-reasoner", training_set={"name": name, "held_out": 0}, max_length=256, **{"resources.workers": 1}
    )
    return resolve_training_data(given, resolve_base_model(given.model))


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["path", "uri"])
def test_a_set_that_was_built_is_learnt_from_wherever_it_lies(tmp_path: Path, scheme: str):
    name = scheme + str(built(tmp_path / "set"))
    lessons = lessons_of(name)
    assert lessons.learnt.counts.examples == 20
    assert lessons.held_out is None
    assert lessons.source.source.startswith(name)


def control(folder: Path, record: str = '{"identity": {"selection": {"answers_only": true}}}') -> Path:
    """A set as `build-dataset --answers-only` leaves it."""
    (folder / "data").mkdir(parents=True)
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    rows = pa.table({"messages": [turns] * 20, "id": list(map(str, range(20)))})
    pq.write_table(rows, folder / "data" / "train-00000-of-00001.parquet")
    (folder / "dataset.json").write_text(record)
    return folder


@pytest.mark.parametrize("scheme", ["", "file://"], ids=["path", "uri"])
def test_a_control_says_by_itself_that_it_has_no_thoughts(tmp_path: Path, scheme: str):
    lessons = lessons_of(scheme + str(control(tmp_path / "set")))
    assert {shown.thought for shown in lessons.source.demonstrations} == {None}
    assert lessons.learnt.counts.examples == 20


@pytest.mark.parametrize(
    "record", ["{", "[]", "{}", "[" * 100_000, '{"identity": {"selection": {"answers_only": false}}}']
)
def test_answers_without_thoughts_in_a_set_that_is_no_control_are_refused(tmp_path: Path, record: str):
    with pytest.raises(InputError, match=r"No row of .* can be used for training"):
        lessons_of(str(control(tmp_path / "set", record)))


def test_a_folder_of_a_store_without_a_set_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"No training set at file://.*no Parquet file in data/"):
        lessons_of(f"file://{tmp_path}")
