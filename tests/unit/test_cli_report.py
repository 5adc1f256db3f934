"""`safechain-ray report`: the formats, and the published figures beside ours."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from safechain_ray.metrics.counts import merge
from safechain_ray.metrics.summary import summarise
from safechain_ray.types import Setting
from tests.made_runs.by_config import finished_run
from tests.made_runs.stored import read_tree, write_tree

SETTING = Setting(dataset="strongreject")
METRICS = summarise(merge([]), [SETTING], [("llama-guard-3-8b", "response")], {"strongreject": 313})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    metrics = METRICS.model_copy(update={"model": "R1-7B", "caveats": ("50% & <more>",)})
    (tmp_path / "metrics.json").write_text(metrics.model_dump_json())
    return tmp_path


def call(run: Path, *flags: str) -> Result:
    return CliRunner().invoke(app, ["report", str(run), *flags])


def test_markdown_and_latex_are_whole_documents_with_names_escaped(run: Path) -> None:
    markdown = call(run, "--format", "markdown", "--by-category").stdout
    assert "**50% \\& \\<more\\>**" in markdown
    assert "| Setting; judge, part | Safe@1 | ConsSafe@K | Safe@K | Missing |" in markdown
    latex = call(run, "--format", "latex").stdout
    assert r"\textbf{50\% \& \textless{}more\textgreater{}}" in latex
    assert r"\toprule" in latex


def test_a_run_without_an_end_has_a_page(tmp_path: Path) -> None:
    made = finished_run(tmp_path / "run", datasets=[{"name": "quickstart", "limit": 2}])
    write_tree(made, read_tree(made) | {"finished": None})
    assert call(tmp_path / "run", "--html").exit_code == 0
    assert "not ended" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("shape", ["table", "markdown", "latex"])
def test_the_papers_figures_stand_beside_ours_in_every_format(run: Path, shape: str) -> None:
    assert "Beside the published" not in call(run, "--format", shape).stdout
    result = call(run, "--paper", "--format", shape)
    assert result.exit_code == 0
    assert "36.4" in result.stdout.split("Beside the published figures of R1-7B")[1]


def test_json_has_the_published_figures_beside_the_metrics(run: Path) -> None:
    tree = json.loads(call(run, "--paper", "--json").stdout)
    (found,) = tree.pop("published")
    assert (found["model"], found["shares"]) == ("R1-7B", {"safe_at_1": 0.364})
    assert found["differs"] == ["default with compat=none, not paper (BOS once, not twice)"]
    assert tree == json.loads((run / "metrics.json").read_text())


def test_another_models_figures_can_stand_beside(run: Path) -> None:
    text = call(run, "--paper", "R1-8B", "--paper-dataset", "strongreject=wildjailbreak").stdout
    assert "48.8*" in text
    assert "model R1-7B, not R1-8B" in " ".join(text.split())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--paper", "R1-9B"), "Unknown published model 'R1-9B'."),
        (
            ("--paper-dataset", "quickstart"),
            "a name is missing. Fix: write NAME=PUBLISHED, for example quickstart=strongreject",
        ),
        (("--format", "html"), "'html' is not one of 'table', 'markdown', 'latex'"),
    ],
)
def test_wrong_flags_end_with_2_and_a_sentence(run: Path, flags: tuple[str, ...], says: str) -> None:
    result = call(run, *flags)
    assert result.exit_code == 2
    assert says in result.stderr
