"""`safechain-ray benchmark`, and `report` of what it leaves: what they print, and how they end."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from tests.made_benchmarks import finished
from tests.small_benchmarks import sums_file

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def again(folder: Path, *more: str) -> Result:
    """The command whose run in `folder` is finished already."""
    source = f"gsm8k={sums_file(folder, 4)}"
    return call("benchmark", "--model", "demo-reasoner", "-b", source, "-o", str(folder / "run"), *more)


def test_it_prints_a_table_and_leaves_a_report(tmp_path: Path) -> None:
    finished(tmp_path, {1: False})
    result = again(tmp_path)
    assert result.exit_code == 0, result.output
    assert "Problems solved by demo-reasoner" in result.stdout
    assert "75.0" in result.stdout
    assert f"Report: {tmp_path / 'run'}/report.html" in result.stdout
    assert (tmp_path / "run" / "report.html").exists()


def test_json_is_metrics_json_with_the_published_figures_where_they_are_asked_for(tmp_path: Path) -> None:
    finished(tmp_path, {})
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert json.loads(again(tmp_path, "--json", "--no-html").stdout) == metrics
    (published,) = json.loads(again(tmp_path, "--json", "--no-html", "--paper", "R1-7B").stdout)["published"]
    assert (published["benchmark"], published["share"]) == ("gsm8k", 0.81)


@pytest.mark.parametrize(("flags", "says"), [((), "pass@1"), (("--paper", "R1-8B"), "Published"), (("--json",), "{")])
def test_report_prints_the_figures_again(tmp_path: Path, flags: tuple[str, ...], says: str) -> None:
    finished(tmp_path, {})
    result = call("report", str(tmp_path / "run"), *flags)
    assert result.exit_code == 0, result.output
    assert says in result.stdout


def test_report_writes_the_page_again(tmp_path: Path) -> None:
    finished(tmp_path, {})
    page = tmp_path / "page.html"
    assert call("report", str(tmp_path / "run"), "--html", str(page)).exit_code == 0
    assert "Benchmarks of demo-reasoner" in page.read_text()


def test_report_refuses_what_is_for_judged_runs(tmp_path: Path) -> None:
    finished(tmp_path, {})
    result = call("report", str(tmp_path / "run"), "--fine-grained")
    assert result.exit_code == 2
    assert "--fine-grained does not apply to" in result.stderr


MODEL = ("benchmark", "--model", "demo-reasoner")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (MODEL, "benchmarks: is missing"),
        (("benchmark", "-b", "gsm8k"), "model: is missing"),
        ((*MODEL, "-b", "gsm9k"), "Did you mean 'gsm8k'?"),
        ((*MODEL, "-b", "gsm8k="), "the name or the source is missing. Fix: write NAME or NAME=SOURCE"),
        ((*MODEL, "--limit", "3"), "--limit needs a --benchmark"),
        ((*MODEL, "--style", "evalplus"), "--style needs a --benchmark"),
        ((*MODEL, "-b", "gsm8k", "--style", "evalplus"), "Unknown style of benchmark gsm8k 'evalplus'"),
        ((*MODEL, "-b", "humaneval", "--style", "evalplus", "-s", "zerothink"), "Fix: leave out the style"),
        ((*MODEL, "-b", "gsm8k", "-k", "3"), "set a temperature above 0"),
        ((*MODEL, "-b", "gsm8k", "--pass-at", "2"), "pass@2 can't be computed from 1 samples"),
        ((*MODEL, "-b", "gsm8k", "--paper", "R1-9B"), "Did you mean 'R1-8B'"),
        ((*MODEL, "-b", "gsm8k", "-s", "morethnik"), "Did you mean 'morethink'?"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(arguments: tuple[str, ...], says: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr


def test_the_schema_of_its_config_is_offered() -> None:
    assert "benchmarks" in json.loads(call("config", "schema", "benchmark").stdout)["properties"]


def test_a_benchmark_that_the_hub_cannot_give_names_the_flag_for_a_local_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("datasets.load_dataset_builder", unreachable)
    result = call("benchmark", "-m", "demo-reasoner", "-b", "gsm8k", "-o", str(tmp_path / "run"))
    assert (result.exit_code, "--benchmark gsm8k=PATH" in result.stderr) == (2, True)
