"""A plan as JSON and as tables: what a run would do, before it does it."""

import io
import json

import pytest
from rich.console import Console

from safechain_ray.cluster.planner import ClusterView, Node, make_plan
from safechain_ray.config import ResourcesConfig, read_config
from safechain_ray.report.labels import setting_label
from safechain_ray.report.plan import plan_summary, render_plan
from safechain_ray.runs.pools import pool_needs
from safechain_ray.runs.resolve import ResolvedRun, resolve

ONE_GPU = ClusterView((Node("n", 16, 1, 64),))
EIGHT_GPUS = ClusterView((Node("n", 64, 8, 640),))


@pytest.fixture(scope="module")
def run() -> ResolvedRun:
    keys = {
        "model": "R1-7B",
        "datasets": ["quickstart"],
        "strategies": ["default", "zerothink"],
        "sampling": {"temperature": 0.6, "max_tokens": 1000},
        "samples": 5,
        "judges": ["llama-guard-3-8b", "refusal-match"],
    }
    return resolve(read_config(None, keys, ()))


def summary(run: ResolvedRun, view: ClusterView) -> dict[str, object]:
    return plan_summary(run, make_plan(pool_needs(run, ResourcesConfig(max_running=100), view), view))


def test_a_summary_counts_rows_and_tokens_by_setting_and_in_all(run: ResolvedRun):
    made = summary(run, EIGHT_GPUS)
    assert (made["model"], made["judges"]) == ("R1-7B", ["llama-guard-3-8b", "refusal-match"])
    assert (made["rows"], made["tokens_at_most"]) == (600, 600_000)
    assert [(each["prompts"], each["rows"], each["tokens_at_most"]) for each in made["settings"]] == [
        (60, 300, 300_000)
    ] * 2
    assert json.loads(json.dumps(made)) == made


def test_a_summary_holds_each_stages_pools_with_their_gpus(run: ResolvedRun):
    (stage,) = summary(run, EIGHT_GPUS)["stages"]
    assert [(pool["pool"], pool["replicas"], pool["gpus"]) for pool in stage] == [
        ("model", 6, 6),
        ("llama-guard-3-8b", 2, 2),
    ]
    assert [[pool["pool"] for pool in stage] for stage in summary(run, ONE_GPU)["stages"]] == [
        ["model"],
        ["llama-guard-3-8b"],
    ]


def test_the_tables_show_settings_pools_and_notes(run: ResolvedRun):
    out = io.StringIO()
    made = {**summary(run, ONE_GPU), "notes": ["one after the other [bold]"]}
    render_plan(made, Console(file=out, width=160))
    shown = out.getvalue()
    for words in ("Plan for R1-7B", "300,000", "600,000", "meta-llama/Llama-Guard-3-8B", "one after the other [bold]"):
        assert words in shown
    assert all(setting_label(setting) in shown for setting in run.settings)


def test_votes_are_shown_with_their_judges():
    keys = {"model": "demo-reasoner", "datasets": ["quickstart"], "judges": ["demo-guard", "refusal-match"]}
    run = resolve(read_config(None, {**keys, "votes": [{"name": "v[red]\x1b[0m", "rule": "all"}]}, ()))
    out = io.StringIO()
    render_plan(summary(run, EIGHT_GPUS), Console(file=out, width=200))
    assert "Vote v[red]: all of demo-guard, refusal-match\n" in out.getvalue()
