"""`safechain-ray judge-study`: what it prints and leaves, and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("ask,reply,harm\nQ,I cannot.,no\nQ,Sure: take,yes\nQ,Up to a metre.,no\n")
    return path


COLUMNS = ("--prompt-column", "ask", "--response-column", "reply", "--label-column", "harm")


def call(labels: Path, *more: str) -> Result:
    arguments = ("judge-study", "--data", str(labels), "--output", str(labels.parent / "study"), *more)
    return CliRunner().invoke(app, arguments)


def test_it_prints_a_table_and_leaves_the_files_for_reading(labels: Path):
    result = call(labels, *COLUMNS, "--judge", "refusal-match")
    assert result.exit_code == 0, result.output
    assert "refusal-match" in result.stdout
    assert "RS-Match *" in result.stdout
    left = {path.name for path in (labels.parent / "study").iterdir() if path.is_file()}
    assert left == {
        "run.json",
        "study.json",
        "study.md",
        "study.svg",
        "study.png",
        "disagreements.parquet",
        "README.md",
    }


def test_json_is_study_json(labels: Path):
    result = call(labels, *COLUMNS, "--judge", "refusal-match", "--json")
    assert json.loads(result.stdout) == json.loads((labels.parent / "study" / "study.json").read_text())


def test_a_config_file_holds_the_same_keys_and_flags_win(labels: Path):
    config = labels.parent / "study.yaml"
    config.write_text("prompt_column: ask\nresponse_column: reply\nlabel_column: ask\njudges: [refusal-match]\n")
    assert call(labels, "--config", str(config), "--label-column", "harm").exit_code == 0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((*COLUMNS[:-1], "ham", "--judge", "refusal-match"), "Did you mean 'harm'?"),
        ((*COLUMNS[:-1], "reply", "--judge", "refusal-match"), "row 1: the label 'i cannot.' says neither safe nor"),
        ((*COLUMNS, "--judge", "refusal-mach"), "Did you mean 'refusal-match'?"),
        (COLUMNS, "judges: is missing"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(labels: Path, flags: tuple[str, ...], says: str):
    result = call(labels, *flags)
    assert result.exit_code == 2
    assert says in result.stderr


def test_report_prints_a_finished_study_again(labels: Path):
    judged = call(labels, *COLUMNS, "--judge", "refusal-match")
    study = str(labels.parent / "study")
    shown = CliRunner().invoke(app, ["report", study])
    assert shown.exit_code == 0, shown.output
    assert judged.stdout.startswith(shown.stdout.rstrip())
    as_json = CliRunner().invoke(app, ["report", study, "--json"]).stdout
    assert json.loads(as_json) == json.loads((labels.parent / "study" / "study.json").read_text())
    refused = CliRunner().invoke(app, ["report", study, "--html"])
    assert (refused.exit_code, "--html does not apply to a judge study" in refused.stderr) == (2, True)
