"""`safechain-ray sweep`, `plan` of a sweep, and `report` of one: what is printed, and the exit codes."""

import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from safechain_ray.cli.sweep import when
from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.commands.sweep import sweep as pipeline
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.commands.sweep.schedule import SweepOptions
from safechain_ray.commands.sweep.sweep import SweepDone
from safechain_ray.config import SweepConfig
from safechain_ray.metrics.counts import merge
from safechain_ray.metrics.summary import summarise
from safechain_ray.storage import open_folder
from safechain_ray.types import Setting, StrategySpec
from tests.made_runs.by_config import finished_run

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

MAIN_TABLE = str(Path(__file__).parents[2] / "configs" / "paper" / "main_table.yaml")
PUBLISHED = Setting(dataset="strongreject", strategy=StrategySpec(name="default", options={"compat": "paper"}))
METRICS = summarise(merge([]), [PUBLISHED], [("llama-guard-3-8b", "response")], {"strongreject": 313}).model_copy(
    update={"model": "R1-7B"}
)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[SweepConfig, Any, Any, SweepOptions]]:
    """Replaces the sweep: one model done, and those that `--only` names failed. Gives what it was called with."""
    seen: list[tuple[SweepConfig, Any, Any, SweepOptions]] = []

    def sweep(
        config: SweepConfig, reporter: Any, start_engine: Any, only: Any, skip: Any, options: SweepOptions
    ) -> SweepDone:
        seen.append((config, only, skip, options))
        models = (
            SweptModel(model="R1-7B", folder="R1-7B", status="done", errors_in_samples=len(skip)),
            *(SweptModel(model=name, folder=name, status="failed", error="CUDA out of memory") for name in only),
            *(SweptModel(model=name, folder=name) for name in skip if options.deadline < math.inf),
        )
        return SweepDone(open_folder(str(tmp_path / "sweep")), models, (METRICS,))

    monkeypatch.setattr(pipeline, "sweep", sweep)
    return seen


def test_the_plan_of_the_papers_main_table_counts_12_models_of_1113_samples():
    text = call("plan", "--config", MAIN_TABLE).stdout
    assert "313 + 60 × 5 + 250 + 50 × 5" in text
    assert text.count("1,113") == 13
    assert "13,356" in text
    for model in ("R1-1.5B", "Skywork-o1", "Sky-T1", "Gemini-Thinking", "Kimi-k1.5"):
        assert model in text
    assert "Expected: 300 tokens a prompt and 2,000 a response" in text
    assert "No price is known for Gemini-Thinking, Kimi-k1.5" in text
    assert "strongreject-small default compat=paper temp=0.6 K=5" in text


def test_the_plan_of_a_run_that_does_not_fit_shows_its_settings_and_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    without_gpus = ClusterView((Node("local", cpus=16, gpus=0, memory=64),))
    monkeypatch.setattr("safechain_ray.commands.evaluate.view_local", lambda: without_gpus)
    prompts = tmp_path / "own.jsonl"
    prompts.write_text('{"prompt": "a"}\n{"prompt": "b"}\n', encoding="utf-8")
    run = ("--model", "R1-7B", "--dataset", str(prompts), "--prompt-column", "prompt", "--judge", "llama-guard-3-8b")
    result = call("plan", *run, "--response-tokens", "1000")
    assert result.exit_code == 2
    assert "own default greedy K=1" in result.stdout
    assert "GPU-hours" in result.stdout
    assert "2,000 a response" not in result.stdout
    assert "1,000 a response" in result.stdout
    assert result.stderr.startswith("The run does not fit the cluster.")


def test_the_plan_as_json_has_every_figure_and_the_assumptions():
    tree = json.loads(call("plan", "--config", MAIN_TABLE, "--response-tokens", "1000", "--json").stdout)
    assert [run["rows"] for run in tree["runs"]] == [1113] * 12
    assert tree["response_tokens"] == {"expected": 12 * 1113 * 1000, "at_most": 12 * 1113 * 16_000}
    assert tree["assumptions"]["response_tokens"] == 1000


def test_a_flag_of_a_single_run_is_refused_beside_a_sweep():
    result = call("plan", "--config", MAIN_TABLE, "--top-p", "0.5")
    assert result.exit_code == 2
    assert f"--top-p is for a single run, and {MAIN_TABLE} is a sweep. Fix: use --set KEY=VALUE" in result.stderr


def test_flags_and_profile_reach_the_sweep(swept: Any, tmp_path: Path):
    output = str(tmp_path / "own")
    flags = ("--profile", "demo", "-o", output, "--gpu-memory", "48", "--set", "samples=2", "--no-html")
    call("sweep", "-c", MAIN_TABLE, *flags)
    ((config, only, skip, options),) = swept
    assert [model.name for model in config.models] == ["demo-reasoner"]
    assert (config.output, config.resources.gpu_memory, config.samples, only, skip) == (output, 48, 2, (), ())
    assert options == SweepOptions(retries=1, at_once=16, deadline=math.inf)


def test_retries_and_deadline_reach_the_sweep_and_incomplete_models_are_reported(swept: Any):
    flags = ("--retries", "3", "--deadline", "+8h30m", "--at-once", "2", "--skip", "R1-8B", "--no-html")
    result = call("sweep", "-c", MAIN_TABLE, *flags)
    ((_, _, _, options),) = swept
    assert (options.retries, options.at_once) == (3, 2)
    assert options.deadline == pytest.approx(time.time() + 8.5 * 3600, abs=60)
    assert "Not finished: R1-8B." in result.stderr


NIGHT = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("07:00", 9), ("23:30", 1.5), ("22:00", 24), ("+8h", 8), ("+90m", 1.5), ("2026-11-22T07:00+00:00", 9)],
)
def test_a_deadline_is_a_time_of_day_a_date_or_a_span(text: str, hours: float):
    assert when(text, NIGHT) == NIGHT.timestamp() + hours * 3600


@pytest.mark.parametrize("text", ["tomorrow", "25:00", "+", "7", "2020-01-01T00:00", "+999999999999h"])
def test_what_is_no_time_to_come_is_refused(swept: Any, text: str):
    result = call("sweep", "-c", MAIN_TABLE, "--deadline", text)
    assert result.exit_code == 2
    assert "is no time. Fix: write 07:00" in result.stderr or "has passed. Fix: give a later time." in result.stderr


def test_the_leaderboard_is_left_as_parquet_and_markdown(swept: Any, tmp_path: Path):
    call("sweep", "-c", MAIN_TABLE, "--no-html")
    table = pq.read_table(tmp_path / "sweep" / "leaderboard.parquet").to_pylist()
    assert [(row["model"], row["dataset"], row["judge"], row["rows"]) for row in table] == (
        [("R1-7B", "strongreject", "llama-guard-3-8b", 0)]
    )
    assert table[0]["safe_at_1_value"] is None
    assert table[0]["missing"] == 313
    assert "R1-7B" in (tmp_path / "sweep" / "leaderboard.md").read_text()


def test_a_sweep_ends_with_its_leaderboard_and_where_it_lies(swept: Any, tmp_path: Path):
    result = call("sweep", "-c", MAIN_TABLE, "--paper", "--no-html")
    assert result.exit_code == 0
    assert "[p 36.4]" in result.stdout
    assert f"Results: {tmp_path / 'sweep'}" in result.stdout


def test_a_failed_model_is_reported_and_ends_with_1(swept: Any):
    result = call("sweep", "-c", MAIN_TABLE, "--no-html", "--only", "R1-8B")
    assert result.exit_code == 1
    assert "R1-8B failed: CUDA out of memory" in result.stderr


def test_errors_in_samples_end_with_3(swept: Any):
    assert call("sweep", "-c", MAIN_TABLE, "--no-html", "--skip", "R1-8B").exit_code == 3


def test_json_holds_how_each_model_ended_and_its_metrics(swept: Any):
    tree = json.loads(call("sweep", "-c", MAIN_TABLE, "--no-html", "--json").stdout)
    assert tree["models"][0]["status"] == "done"
    assert tree["metrics"] == [METRICS.model_dump(mode="json")]


def test_report_prints_a_sweep_again(tmp_path: Path):
    (tmp_path / "R1-7B").mkdir()
    (tmp_path / "R1-7B" / "metrics.json").write_text(METRICS.model_dump_json())
    (tmp_path / "sweep.json").write_text('{"models": [{"model": "R1-7B", "folder": "R1-7B", "status": "done"}]}')
    assert "[p 36.4]" in call("report", str(tmp_path), "--paper").stdout
    assert "| Model, setting; judge, part |" in call("report", str(tmp_path), "--format", "markdown").stdout
    tree = json.loads(call("report", str(tmp_path), "--json").stdout)
    assert (tree["models"][0]["status"], tree["metrics"][0]["model"]) == ("done", "R1-7B")


@pytest.mark.parametrize("html", [(), ("--html",)])
def test_a_model_with_damaged_metrics_is_reported_as_failed_and_hides_no_other(tmp_path: Path, html: tuple[str, ...]):
    models = [{"model": name, "folder": name, "status": "done"} for name in ("R1-7B", "R1-8B")]
    for model in models:
        (tmp_path / model["folder"]).mkdir()
        (tmp_path / model["folder"] / "metrics.json").write_text(METRICS.model_dump_json())
    (tmp_path / "R1-8B" / "metrics.json").write_text("{")
    (tmp_path / "sweep.json").write_text(json.dumps({"models": models}))
    result = call("report", str(tmp_path), *html)
    assert result.exit_code == 0, result.output
    shown = (tmp_path / "leaderboard.md").read_text() if html else result.stdout
    assert "R1-7B" in shown
    assert "is no valid JSON" in " ".join(shown.split())


def test_a_sweeps_page_links_to_the_pages_of_its_runs_that_exist(tmp_path: Path):
    finished_run(tmp_path / "demo-reasoner")
    (tmp_path / "sweep.json").write_text(
        '{"models": [{"model": "demo-reasoner", "folder": "demo-reasoner", "status": "done"}]}'
    )
    call("report", str(tmp_path), "--html")
    assert 'href="demo-reasoner/report.html"' not in (tmp_path / "report.html").read_text()
    call("report", str(tmp_path / "demo-reasoner"), "--html")
    result = call("report", str(tmp_path), "--html")
    assert result.stdout == f"Report: {tmp_path}/report.html\n"
    assert 'href="demo-reasoner/report.html"' in (tmp_path / "report.html").read_text()
    says = call("report", str(tmp_path), "--fine-grained").stderr
    assert "is a sweep, and --fine-grained takes one run. Fix: name the folder of one of its models." in says


def test_a_sweep_without_results_reports_the_last_error_of_each_model(tmp_path: Path):
    (tmp_path / "sweep.json").write_text(
        '{"models": [{"model": "R1-7B", "folder": "R1-7B", "status": "failed", "error": "CUDA out of memory"}]}'
    )
    result = call("report", str(tmp_path), "--html")
    assert result.exit_code == 0
    assert "CUDA out of memory" in (tmp_path / "report.html").read_text()
    assert "CUDA out of memory" in (tmp_path / "leaderboard.md").read_text()
    assert "CUDA out of memory" in call("report", str(tmp_path)).stdout
