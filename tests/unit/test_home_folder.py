"""`~` at the start of any path that a user gives is the home folder: shells expand it only where a word begins."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from safechain_ray.cluster.training.worker import _scratch
from safechain_ray.commands.finetune.resolve import training_set_entry
from safechain_ray.config import FinetuneConfig, config_kind, read_config, read_config_as
from safechain_ray.datasets.adhoc import adhoc_entry, adhoc_training_set
from safechain_ray.datasets.labelled import Columns, load_labelled
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.datasets.training_sets import load_training_set
from safechain_ray.storage import open_folder

ROW = '{"prompt": "How?", "response": "<think>\\nHm.\\n</think>\\n\\nSo.", "label": "safe"}\n'
CONFIG = "model: demo-reasoner\n{more}\noutput: ~/out\nprofiles:\n  one: {{model: R1-7B}}\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "set.jsonl").write_text(ROW)
    return tmp_path


def test_in_a_config_with_its_profile(home: Path):
    (home / "run.yaml").write_text(CONFIG.format(more="datasets: [quickstart]\njudges: [refusal-match]"))
    assert read_config(Path("~/run.yaml"), {}, (), "one").model.name == "R1-7B"
    (home / "train.yaml").write_text(CONFIG.format(more="training_set: ~/set.jsonl"))
    assert config_kind(Path("~/train.yaml")) == "finetune"
    config = read_config_as(FinetuneConfig, Path("~/train.yaml"), {})
    assert len(load_training_set(training_set_entry(config.training_set)).demonstrations) == 1


def test_in_data_of_every_kind():
    assert len(load_prompts(adhoc_entry("~/set.jsonl")).prompts) == 1
    assert len(load_labelled("~/set.jsonl", Columns("prompt", "response", "label")).responses) == 1
    assert len(load_training_set(adhoc_training_set("~/set.jsonl")).demonstrations) == 1


def test_in_outputs_and_scratch_folders(home: Path):
    open_folder("~/out").write_text("a", "b")
    assert (home / "out" / "a").read_text() == "b"
    task = SimpleNamespace(scratch="~/scratch", output=open_folder("~/out"), training="t")
    assert _scratch(cast(Any, task)).is_relative_to(home / "scratch")
