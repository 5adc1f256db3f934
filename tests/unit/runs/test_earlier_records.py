"""Folders that commit ade6d38 wrote, read without Ray: status, report in every format, compare, the training set."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from safechain_ray.cli import app
from tests.earlier_folders import FOLDERS, changed, copied, read_json, table

REPORTED = ("evaluate", "evaluate_refused", "sweep", "judge_study", "benchmark", "prefer", "build_dataset/run")
WITH_PAGE = ("evaluate", "evaluate_refused", "sweep", "benchmark", "build_dataset/run")


def call(*arguments: str, code: int = 0) -> str:
    """The command's stdout."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.stderr
    return result.stdout + (result.stderr if code else "")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("evaluate", "done"),
        ("evaluate_refused", "done"),
        ("evaluate_interrupted", "silent"),
        ("evaluate_rounds", "silent"),
        ("evaluate_staged", "failed"),
        ("judge_study", "done"),
        ("benchmark", "done"),
        ("prefer", "done"),
        ("build_dataset/run", "done"),
        ("sweep", "done"),
    ],
)
def test_status_says_how_far_it_is(name: str, status: str) -> None:
    result = CliRunner().invoke(app, ["status", str(FOLDERS / name), "--json"])
    tree = json.loads(result.stdout)
    assert {model["state"] for model in tree["models"]} == {status}


@pytest.mark.parametrize("name", ["finetune", "finetune_interrupted", "build_dataset"])
def test_status_says_which_folders_are_no_runs(name: str) -> None:
    assert "holds no run and no sweep" in call("status", str(FOLDERS / name), code=2)


@pytest.mark.parametrize("shape", ["table", "markdown", "latex"])
@pytest.mark.parametrize("name", REPORTED)
def test_report_shows_the_figures(name: str, shape: str, tmp_path: Path) -> None:
    assert len(call("report", str(copied(name, tmp_path)), "--format", shape)) > 500


@pytest.mark.parametrize(
    ("name", "figures"),
    [("evaluate", "metrics"), ("benchmark", "metrics"), ("judge_study", "study"), ("prefer", "preferences")],
)
def test_the_figures_reported_are_those_of_the_folder(name: str, figures: str) -> None:
    stored = read_json(FOLDERS / name / f"{figures}.json")
    assert not changed(stored, json.loads(call("report", str(FOLDERS / name), "--json")))


@pytest.mark.parametrize("name", WITH_PAGE)
def test_the_page_is_written(name: str, tmp_path: Path) -> None:
    folder = copied(name, tmp_path)
    call("report", str(folder), "--html")
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("flags", [(), ("--html",)])
def test_a_killed_run_has_no_figures_yet(flags: tuple[str, ...], tmp_path: Path) -> None:
    said = call("report", str(copied("evaluate_interrupted", tmp_path)), *flags, code=2)
    assert "has not ended: it has no metrics.json. Fix: rerun its command to resume." in said


def test_the_fine_grained_analysis_is_the_same(tmp_path: Path) -> None:
    folder = copied("evaluate", tmp_path)
    earlier = read_json(folder / "analysis.json")["settings"]
    call("report", str(folder), "--fine-grained")
    assert not changed(earlier, read_json(folder / "analysis.json")["settings"])


@pytest.mark.parametrize("name", ["evaluate", "evaluate_refused", "benchmark", "sweep/second"])
def test_a_run_compared_with_its_copy_differs_in_nothing(name: str, tmp_path: Path) -> None:
    copy = copied(name, tmp_path)
    tree = json.loads(call("compare", str(FOLDERS / name), str(copy), "--json"))
    assert {each["value"] for each in _dictionaries(tree) if "p_value" in each} == {0.0}


def test_strategies_of_a_run_are_compared() -> None:
    assert "zerothink" in call("compare", str(FOLDERS / "evaluate"), "--baseline", "default")


def test_a_built_data_set_is_read_as_a_training_set() -> None:
    from safechain_ray.commands.finetune.resolve import resolve_base_model, resolve_training_data
    from safechain_ray.config import FinetuneConfig, read_config_as

    folder = FOLDERS / "build_dataset"
    rows = table(folder / "data")
    given = {"model": "demo-reasoner", "training_set": {"name": str(folder), "held_out": 0.0}, "output": "nowhere"}
    config = read_config_as(FinetuneConfig, None, given | {"training.sequences_a_step": 1})
    lessons = resolve_training_data(config, resolve_base_model(config.model))
    assert lessons.learnt.counts.examples == rows.num_rows > 0


def _dictionaries(tree: object) -> list[dict]:
    """All objects in a JSON tree."""
    if isinstance(tree, dict):
        return [tree, *(found for value in tree.values() for found in _dictionaries(value))]
    if isinstance(tree, list):
        return [found for value in tree for found in _dictionaries(value)]
    return []
