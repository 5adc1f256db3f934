"""Every config of the paper, in small: its demo profile ends with its table.

`make test` runs one sweep and the judge study through scripted engines, `make test-long` all configs through real ones.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray.cluster_utils import Cluster

from safechain_ray.datasets.adhoc import adhoc_training_set
from safechain_ray.datasets.training_sets import load_training_set
from tests.lean_ray import LEAN
from tests.processes import python_path

PAPER = Path(__file__).parents[2] / "configs" / "paper"
VLLM = ("-m", "safechain_ray")
SCRIPTED = ("-m", "tests.cluster.scripted_cli", "0")
ROWS = {"main_table": 20 + 20 * 3, "strategies": 4 * 12 * 3, "decoding_study": 29 * 6 * 2, "fine_grained": 60}
PROGRAMS = [pytest.param(SCRIPTED, id="scripted"), pytest.param(VLLM, id="vllm", marks=pytest.mark.long)]
SWEEPS = [
    pytest.param(SCRIPTED, "main_table", id="scripted-main_table"),
    *(
        pytest.param(SCRIPTED, name, id=f"scripted-{name}", marks=pytest.mark.long)
        for name in ROWS
        if name != "main_table"
    ),
    *(pytest.param(VLLM, name, id=f"vllm-{name}", marks=pytest.mark.long) for name in ROWS),
]


@pytest.fixture(scope="module")
def cluster_address() -> Iterator[str]:
    """One Ray for all of them: each starts its own engines on it."""
    cluster = Cluster(initialize_head=True, head_node_args={**LEAN, "num_cpus": 16})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def demo(cluster_address: str, tmp_path: Path) -> Callable[..., str]:
    return lambda program, command, name, *more: printed_by(program, command, name, tmp_path, cluster_address, *more)


def printed_by(
    program: tuple[str, ...], command: str, name: str, output: Path, cluster_address: str, *more: str
) -> str:
    """What the command prints for the demo profile of a config."""
    environment = {**os.environ, "RAY_ADDRESS": cluster_address, "COLUMNS": "200", "PYTHONPATH": python_path()}
    done = subprocess.run(
        [
            *(sys.executable, *program, command, "--config", str(PAPER / f"{name}.yaml")),
            *("--profile", "demo", "--output", str(output), *more),
        ],
        capture_output=True,
        text=True,
        timeout=400,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def metrics_of(sweep: Path) -> dict[str, Any]:
    (model,) = json.loads((sweep / "sweep.json").read_text())["models"]
    assert (model["model"], model["status"]) == ("demo-reasoner", "done")
    metrics: dict[str, Any] = json.loads((sweep / "demo-reasoner" / "metrics.json").read_text())
    return metrics


@pytest.mark.parametrize(("program", "name"), SWEEPS)
def test_a_sweep_of_the_paper_ends_with_the_figures_of_every_setting(
    demo: Callable[..., str], program: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    published = ("--paper", "R1-7B", "--paper-dataset", "quickstart=strongreject") if name == "main_table" else ()
    printed = demo(program, "sweep", name, *published)
    metrics = metrics_of(tmp_path)
    samples = pd.concat(pd.read_parquet(path) for path in tmp_path.glob("demo-reasoner/samples/*.parquet"))
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "demo-reasoner" / "report.html").exists()
    assert len(samples) == len(set(samples.sample_id)) == ROWS[name]
    assert set(samples.setting_id) == {setting["setting_id"] for setting in metrics["settings"]}
    table = printed.split("Safety")[1]
    for setting in metrics["settings"]:
        for judge in setting["judges"]:
            assert f"{judge['judge']}, {judge['part']}" in table
            assert f"{100 * judge['safe_at_1']['value']:.1f}" in table
    if published:
        assert "[p 36.4*]" in table
        assert "[p 35.3*]" in table


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_papers_judge_study_ends_with_both_judges_and_the_vote_beside_the_pilot(
    demo: Callable[..., str], program: tuple[str, ...], tmp_path: Path
) -> None:
    printed = demo(program, "judge-study", "judge_study")
    study = json.loads((tmp_path / "study.json").read_text())
    assert [rater["name"] for rater in study["raters"]] == ["refusal-match", "demo-guard", "vote-any"]
    for rater in study["raters"]:
        assert rater["agreement"]["missing"] == 0
        assert f"{100 * rater['agreement']['accuracy']['value']:.1f}" in printed
    assert "Llama-Guard *" in printed


@pytest.mark.long
def test_the_papers_benchmarks_end_with_what_the_demo_reasoner_solves(demo: Callable[..., str], tmp_path: Path) -> None:
    printed = demo(VLLM, "benchmark", "benchmarks")
    (benchmark,) = json.loads((tmp_path / "metrics.json").read_text())["benchmarks"]
    solved = benchmark["grades"]["pass_at"]["1"]
    assert (benchmark["rows"], benchmark["ungraded"]) == (200, 0)
    assert 0.3 < solved["low"] < solved["high"] < 0.95
    assert f"{100 * solved['value']:.1f}" in printed
    assert (tmp_path / "report.html").exists()


@pytest.mark.long
def test_the_papers_training_set_is_built_and_what_it_leaves_is_read_as_one(
    demo: Callable[..., str], tmp_path: Path
) -> None:
    demo(VLLM, "build-dataset", "safechain_dataset")
    built = load_training_set(adhoc_training_set(str(tmp_path)))
    assert len(built.demonstrations) == 8
    assert all(each.thought for each in built.demonstrations)
