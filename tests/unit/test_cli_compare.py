"""`safechain-ray compare`: formats, JSON, and what it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from safechain_ray.types import Setting, StrategySpec
from tests.made_benchmarks import finished
from tests.made_runs.by_verdicts import write_run

DEFAULT = Setting(dataset="strongreject")
ZERO = Setting(dataset="strongreject", strategy=StrategySpec(name="zerothink"))
TEXTS = {"p0": "Q?", "p1": "R?"}


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    verdicts = [(DEFAULT, {"p0": [True], "p1": [True]}), (ZERO, {"p0": [False], "p1": [True]})]
    return [str(write_run(tmp_path / model, verdicts, TEXTS, model)) for model in ("R1-7B", "R1-8B")]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments])


@pytest.mark.parametrize(
    ("shape", "mark"), [("table", "R1-8B against R1-7B"), ("markdown", "| --- |"), ("latex", r"\toprule")]
)
def test_runs_are_compared_in_every_format(runs: list[str], shape: str, mark: str) -> None:
    result = call(*runs, "--paper", "--format", shape)
    assert result.exit_code == 0
    assert mark in result.stdout
    assert "+10.2" in result.stdout


def test_json_is_the_whole_comparison(runs: list[str]) -> None:
    tree = json.loads(call(runs[0], "--baseline", "default", "--json").stdout)
    (pair,) = tree["pairs"]
    assert (tree["between"], tree["baseline"], pair["second"]["strategy"]["name"]) == (
        "strategies",
        "default",
        "zerothink",
    )
    assert (pair["judges"][0]["differences"][0]["value"], pair["prompts"]) == (0.5, [2, 2, 2])


def test_html_writes_a_page_and_reports_where_beside_the_tables(runs: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = call(*runs, "--html", str(page), "--format", "markdown")
    assert result.exit_code == 0
    assert result.stdout.startswith("## R1-8B against R1-7B")
    assert result.stderr == f"Report: {page}\n"
    assert "R1-8B against R1-7B" in page.read_text()


def test_json_of_runs_and_benchmarks_together_has_both(runs: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        finished(tmp_path / name, {})
    tree = json.loads(call(*runs, str(tmp_path / "one" / "run"), str(tmp_path / "two" / "run"), "--json").stdout)
    assert (tree["runs"]["baseline"], tree["benchmarks"]["differences"][0]["benchmark"]) == ("R1-7B", "gsm8k")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["{0}", "--baseline", "default", "--html", "page.html"],
            "--html shows two models or more. Fix: name a second RUN",
        ),
        (["{0}"], "A comparison needs two runs, or two strategies of one run. Fix: name a second RUN"),
        (
            ["{0}", "{1}", "--baseline", "default"],
            "--baseline compares the strategies of one run, and 2 runs are named. Fix: name one RUN",
        ),
        (["{0}", "{0}"], "is named twice"),
        (["{0}", "{1}-not"], "There is no folder"),
        (["{0}", "--baseline", "morethink"], "Its strategies: default, zerothink. Fix: give one of them"),
        ([], "Missing argument 'RUN [RUN]...'"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(runs: list[str], arguments: list[str], says: str) -> None:
    result = call(*(argument.format(*runs) for argument in arguments))
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
