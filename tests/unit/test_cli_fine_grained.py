"""`safechain-ray report --fine-grained` and `judge --pieces`: tables, JSON, and what is refused."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from tests.made_runs.by_config import finished_run

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_fine_grained_analysis_is_printed_as_tables_and_as_json(tmp_path: Path):
    finished_run(tmp_path)
    shown = call("report", tmp_path, "--fine-grained", "--by-category")
    assert shown.exit_code == 0
    assert "Thought against answer" in shown.stdout
    assert "Thought and answer by category" in shown.stdout
    document = call("report", tmp_path, "--fine-grained", "--json").stdout
    assert json.loads(document) == json.loads((tmp_path / "analysis.json").read_text())


@pytest.mark.parametrize(
    ("shape", "title"),
    [
        ("markdown", "# Fine-grained analysis of demo-reasoner"),
        ("latex", "\\par\\noindent\\textbf{Fine-grained analysis of demo-reasoner"),
    ],
)
def test_the_fine_grained_analysis_is_written_in_every_format(tmp_path: Path, shape: str, title: str):
    finished_run(tmp_path)
    shown = call("report", tmp_path, "--fine-grained", "--format", shape).stdout
    assert title in shown
    assert "Thought against answer" in shown


def test_a_benign_category_that_was_named_once_is_benign_in_every_later_report(tmp_path: Path):
    finished_run(tmp_path)
    benign = {"benign", "benign-sensitive", "privacy"}
    named = json.loads(call("report", tmp_path, "--benign-category", "privacy", "--json").stdout)
    assert set(named["settings"][0]["over_refusal"]["categories"]) == benign
    assert (named["settings"][0]["benign_prompts"], named["settings"][0]["judges"][0]["prompts"]) == (30, 30)
    assert json.loads(call("report", tmp_path, "--json").stdout) == named
    analysis = json.loads(call("report", tmp_path, "--fine-grained", "--json").stdout)
    assert set(analysis["settings"][0]["over_refusal"][0]["categories"]) == benign


def test_a_benign_category_that_no_prompt_has_is_refused(tmp_path: Path):
    finished_run(tmp_path)
    done = call("report", tmp_path, "--benign-category", "privasy")
    assert (done.exit_code, "Did you mean 'privacy'?" in done.output) == (2, True)


def test_a_folder_without_a_run_is_wrong_input(tmp_path: Path):
    result = call("report", tmp_path / "nothing", "--fine-grained")
    assert (result.exit_code, "There is no folder" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ("--judge", "demo-guard", "--pieces", 8, "--part", "answer"),
            "pieces and parts exclude each other: leave parts out",
        ),
        (("--judge", "demo-guard", "--pieces", 1), "pieces: must be at least 2"),
        (("--judge", "refusal-match", "--pieces", 8), "refusal-match can't judge thoughts in pieces"),
    ],
)
def test_pieces_that_can_not_be_judged_are_refused(tmp_path: Path, flags: tuple[object, ...], says: str):
    finished_run(tmp_path / "run")
    result = call("judge", tmp_path / "run", *flags)
    assert result.exit_code == 2
    assert says in result.output
