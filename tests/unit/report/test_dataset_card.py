"""The data card: front matter that the hub reads, counts that add up, names that are inert."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import yaml

from safechain_ray.commands.build_dataset import Building, build_dataset
from safechain_ray.datasets.adhoc import adhoc_training_set
from safechain_ray.datasets.training_sets import load_training_set
from safechain_ray.report.training import dataset_card, steps_table, write_card
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.testing import ScriptedEngines
from tests.made_runs.by_draw import answered, build_config


def carded(folder: Path, unsafe: bool = False, **keys: Any) -> tuple[Building, str]:
    config = answered(build_config(folder, **keys), lambda item: {"unsafe": unsafe and item.prompt.prompt_id < "p2"})
    built = build_dataset(config, RecordingReporter(), ScriptedEngines({}))
    write_card(built)
    return built, (folder / "set/README.md").read_text()


def test_datasets_and_the_projects_reader_load_the_folder_by_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    built, _ = carded(tmp_path)
    loaded = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == pq.read_table(tmp_path / "set" / built.facts.files[0]).to_pylist()
    assert len(load_training_set(adhoc_training_set(str(tmp_path / "set"))).demonstrations) == 20


def test_the_front_matter_names_the_files_the_size_and_no_licence_of_its_own(tmp_path: Path):
    _, card = carded(tmp_path)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}
    ]
    assert (front["license"], front["size_categories"]) == ("other", ["n<1K"])
    assert "reasoning" in front["tags"]


def test_the_card_shows_every_step_with_its_counts(tmp_path: Path):
    built, card = carded(tmp_path, unsafe=True, rows=5)
    for step in built.facts.steps:
        assert f"{step.total_left:,}" in next(line for line in card.splitlines() if line.startswith(f"| {step.name}"))
    assert "| kept |  | 5 |" in card
    assert "all 3 responses are safe" in card
    shown = steps_table(built.facts).groups[0]
    left = [int(row[2].lines[0]) for row in shown]
    out = [int(row[1].lines[0]) for row in shown]
    assert all(before + less == after for before, less, after in zip(left, out[1:], left[1:], strict=False))


def test_missing_rows_sources_and_the_limits_of_verdicts_are_in_the_card(tmp_path: Path):
    _, card = carded(tmp_path, rows=30, decontaminate=["quickstart"])
    assert "**10 rows of 30 are missing" in card
    assert "| judge | demo-guard |" in card
    assert "No prompt is a near-duplicate of one of quickstart, or shares 13 words in a row with one" in card
    assert "## What the verdicts mean, and what they don't" in card
    assert '"name": "demo-reasoner"' in card
    assert str(tmp_path / "set") not in card


def test_the_config_is_shown_without_folders_cluster_and_endpoints(tmp_path: Path):
    built, _ = carded(tmp_path)
    model = {"name": "openai:my-model", "base_url": "http://inside.example/v1"}
    where = {"output": "s3://inside.example/set", "resources": {"ray_address": "inside.example:6379"}}
    card = dataset_card(built.facts, {"model": model, "seed": 47, **where})
    assert '"name": "openai:my-model"' in card
    assert '"seed": 47' in card
    assert "inside.example" not in card


def test_a_control_is_called_one(tmp_path: Path):
    _, card = carded(tmp_path, answers_only=True)
    assert "a control without thoughts" in card
    assert "reasoning" not in yaml.safe_load(card.split("---\n")[1])["tags"]


def test_names_that_hold_markup_are_inert(tmp_path: Path):
    hostile = tmp_path / "a|b<script>.csv"
    hostile.write_text("id,prompt,kind\n" + "".join(f"p{n},How {n}?,<img src=x>|{n % 2}\n" for n in range(4)))
    _, card = carded(tmp_path, prompts={"name": str(hostile), "id_column": "id", "kind_column": "kind"})
    body = card.split("---\n")[2].split("```json")[0]
    assert "<img" not in body.replace("\\<img", "")
    assert "<script" not in body.replace("\\<script", "")
