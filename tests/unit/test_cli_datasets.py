"""Data sets named by flags: what is wrong with one is said before anything starts, with exit code 2."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from safechain_ray.cli import app

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

RUN = ("--model", "demo-reasoner", "--judge", "refusal-match")
CARD = """---
configs:
- config_name: behaviours
  data_files:
  - split: harmful
    path: harmful.csv
  - split: benign
    path: benign.csv
- config_name: judges
  data_files:
  - split: test
    path: judges.csv
---
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "set"
    place.mkdir()
    (place / "README.md").write_text(CARD)
    (place / "harmful.csv").write_text("prompt\nHow?\n")
    (place / "benign.csv").write_text("prompt\n\n")
    (place / "judges.csv").write_text("prompt,response,is_safe\nHow?,I cannot.,1\nHow?,Sure: take,0\n")
    return place


@pytest.mark.parametrize("command", ["evaluate", "plan"])
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "several configs: behaviours, judges. Fix: name one with --name"),
        (("--name", "behaviours"), "several splits: harmful, benign. Fix: name one with --split"),
        (("--name", "behaviours", "--split", "train"), "no split 'train', only harmful, benign"),
        (("--name", "behaviours", "--split", "benign"), "holds no rows"),
        (("--name", "judges", "--prompt-column", "is_save"), "Did you mean 'is_safe'?"),
    ],
)
def test_a_set_that_can_not_be_read_ends_with_2(folder: Path, command: str, flags: tuple[str, ...], says: str):
    output = folder.parent / "run"
    result = call(command, *RUN, "--dataset", str(folder), *flags, "--output", str(output))
    assert result.exit_code == 2
    assert says in result.output
    assert not output.exists()


@pytest.mark.parametrize(
    ("content", "flags", "says"),
    [
        ("prompt;category\nHow?;x\n", (), "separated by ;"),
        ("prompt\n\n", (), "holds no rows"),
        ("prompt,id\n ,1\n ,2\n", (), "No row of"),
        ("prompt\nHow?\n", ("--split", "test"), "--split (split in a config file, training_set.split for finetune)"),
        ("prompt\nHow?\n", ("--name", "x"), "--name (config in a config file, training_set.config for finetune)"),
    ],
)
def test_a_file_that_can_not_be_read_ends_with_2(tmp_path: Path, content: str, flags: tuple[str, ...], says: str):
    (tmp_path / "a.csv").write_text(content)
    result = call("evaluate", *RUN, "--dataset", str(tmp_path / "a.csv"), *flags, "--output", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert says in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--name", "--split"])
def test_a_place_without_a_set_is_refused(flag: str):
    result = call("plan", *RUN, flag, "x")
    assert result.exit_code == 2
    assert f"{flag} needs a --dataset. Fix: add --dataset" in result.output


def test_name_and_split_are_keys_of_the_config():
    shown = call("config", "show", *RUN, "--dataset", "owner/set", "--name", "250", "--split", "test")
    (dataset,) = yaml.safe_load(shown.stdout)["datasets"]
    assert (dataset["config"], dataset["split"]) == ("250", "test")


def test_a_study_reads_a_config_and_a_label_by_its_columns_name(folder: Path):
    arguments = ("judge-study", "--data", str(folder), "--name", "judges", "--label-column", "is_safe")
    result = call(*arguments, "--judge", "refusal-match", "--output", str(folder.parent / "study"), "--json")
    assert result.exit_code == 0, result.output
    (rater,) = json.loads(result.stdout)["raters"]
    assert rater["agreement"]["accuracy"]["value"] == 1.0
