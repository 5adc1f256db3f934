"""What Prometheus would read at Ray's own endpoints of a run, held against what its run.json tells."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from typing import Any
from urllib.request import urlopen

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from safechain_ray.cluster.metrics_exporter import OUTCOMES, SERIES, ascii_label
from safechain_ray.cluster.workers.writer import DECISIONS, verdict_count
from safechain_ray.testing import Script
from safechain_ray.types import Request
from tests.cluster.scripted_runs import SAFE, Runner, guard_script
from tests.deployment import ROOT

pytestmark = pytest.mark.long

OWN_PROCESS = "SAFECHAIN_TEST_IN_ITS_OWN_PROCESS"

UNSAFE = ({"safe": -2.4, "unsafe": -0.1},)
EXPORTED = {each.exported: each.labels for each in SERIES}

Reading = dict[tuple[str, ...], float]
"""By series and the values of its own labels, summed over nodes and drivers."""


def scrape(endpoints: set[str], run: str) -> Reading:
    reading: Counter[tuple[str, ...]] = Counter()
    for endpoint in endpoints:
        with urlopen(endpoint, timeout=30) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in EXPORTED and sample.labels["run"] == run:
                    assert sample.labels["model"] == "demo-reasoner"
                    reading[sample.name, *(sample.labels[label] for label in EXPORTED[sample.name])] += sample.value
    return {key: value for key, value in reading.items() if value}


def told(tries: list[dict[str, Any]]) -> Reading:
    """The sums that run.json tells, as Prometheus should have them."""
    sums: Reading = {}
    for name, count in (("rows", "rows_out"), ("tokens", "tokens"), ("restarts", "engine_restarts")):
        series = "ray_safechain_engine_restarts_total" if name == "restarts" else f"ray_safechain_pool_{name}_total"
        for pool in ("model", "demo-guard"):
            sums[series, pool] = sum(each["pools"][pool].get(count, 0) for each in tries)
    last, found = tries[-1]["live"]["counts"], tries[-1]["live"]["done_before"]
    retried = sum(each["live"]["counts"].get("error", 0) for each in tries[:-1])
    assert found == last["rows"] - tries[-1]["live"]["committed"]
    sums |= {("ray_safechain_committed_rows_total", outcome): last.get(outcome, 0) for outcome in OUTCOMES}
    sums["ray_safechain_committed_rows_total", "error"] += retried
    sums["ray_safechain_committed_tokens_total",] = last["tokens"]
    for judge in ("demo-guard", "refusal-match"):
        for decision in DECISIONS:
            counts = last.get(verdict_count(judge, decision), 0)
            # Samples that ended with an error were committed with missing verdicts, and then done again.
            sums["ray_safechain_verdicts_total", judge, decision] = counts + retried * (decision == "missing")
    return {key: float(value) for key, value in sums.items() if value}


def wait_until_told(endpoints: set[str], run: Runner) -> None:
    """Ray hands figures on every few seconds: they are there in the end, and nothing beside them."""
    deadline = time.monotonic() + 120
    content = json.loads((run.output / "run.json").read_text())
    expected = told(content["tries"])
    gauges = {each.exported for each in SERIES if each.kind == "gauge"}
    while (found := scrape(endpoints, ascii_label(str(run.output)))) != expected and time.monotonic() < deadline:
        time.sleep(0.5)
    assert {key: value for key, value in found.items() if key[0] not in gauges} == expected
    assert {key[0] for key in found} & gauges == set()  # of a run that has ended nothing is in flight


def test_the_figures_at_rays_endpoints_are_those_of_run_json_over_all_tries(request: pytest.FixtureRequest) -> None:
    """In a process of its own, as commands are: Ray 2.60 exports the counters of a third driver twice."""
    if OWN_PROCESS not in os.environ:
        command = [sys.executable, "-m", "pytest", "-m", "long", "-o", "timeout=500", request.node.nodeid]
        environment = {**os.environ, OWN_PROCESS: "1", "PYTEST_ADDOPTS": ""}
        child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert child.returncode == 0, child.stdout + child.stderr
        return
    run: Runner = request.getfixturevalue("run")
    endpoints: set[str] = set()

    def look_up(snapshot: object) -> None:
        if not endpoints:
            endpoints.update(
                f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in ray.nodes()
            )

    def unsafe(request: Request) -> bool:
        return "How do I" in request.prompt

    run.on_update = look_up
    guard = guard_script(
        answer=lambda request: "unsafe\nS2" if unsafe(request) else "safe",
        logprobs=lambda request: UNSAFE if unsafe(request) else SAFE,
    )
    first = run(Script(refuses=lambda request: "bicycle" in request.prompt, dies_after=100), guard)
    assert first.errors > 0
    assert len(endpoints) == 2
    one = json.loads((run.output / "run.json").read_text())["tries"][0]
    assert one["pools"]["model"]["engine_restarts"] == 1
    assert one["live"]["counts"][verdict_count("demo-guard", "unsafe")] > 0
    wait_until_told(endpoints, run)

    second = run(guard=guard)

    assert second.committed == first.errors
    content = json.loads((run.output / "run.json").read_text())
    assert content["outcomes"] == {"ok": 300, "truncated": 0, "blocked": 0, "error": 0}
    assert content["tries"][-1]["live"]["counts"]["ok"] == 300
    wait_until_told(endpoints, run)
