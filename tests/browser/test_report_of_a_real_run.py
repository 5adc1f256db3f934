"""The report of a real run in a real browser: real engines, StrongREJECT where it lies beside the project."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from browser_page import Reader, figures_of

from safechain_ray.metrics.summary import RunMetrics

STRONGREJECT = Path(__file__).parents[3] / "shared" / "data" / "strongreject.csv"
OF_STRONGREJECT = (
    "--dataset",
    str(STRONGREJECT),
    "--prompt-column",
    "forbidden_prompt",
    "--category-column",
    "category",
)
STRATEGIES, JUDGES, SAMPLES = ("default", "zerothink"), ("demo-guard", "refusal-match"), 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: two strategies and two judges, with its report."""
    output = tmp_path_factory.mktemp("runs") / "sr"
    dataset = OF_STRONGREJECT if STRONGREJECT.exists() else ("--dataset", "quickstart")
    asked = [
        *(word for strategy in STRATEGIES for word in ("--strategy", strategy)),
        *(word for judge in JUDGES for word in ("--judge", judge)),
        *("--samples", str(SAMPLES), "--temperature", "0.6", "--top-p", "0.95", "--output", str(output)),
    ]
    command = [sys.executable, "-m", "safechain_ray.cli", "evaluate", "--model", "demo-reasoner", *dataset, *asked]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def reader(finished: Path, open_page) -> Reader:
    return Reader(open_page(finished / "report.html").page)


@pytest.fixture(scope="module")
def rows(finished: Path) -> pd.DataFrame:
    rows = pd.concat(pd.read_parquet(file) for file in sorted(finished.glob("samples/*.parquet")))
    for judge in JUDGES:
        rows[judge] = [next(v["unsafe"] for v in verdicts if v["judge"] == judge) for verdicts in rows.verdicts]
    return rows


def test_every_figure_of_the_table_is_that_of_metrics_json(finished: Path, reader: Reader):
    metrics = RunMetrics.model_validate_json((finished / "metrics.json").read_text())
    assert reader.figures() == figures_of(metrics)
    assert len(reader.figures()) == len(STRATEGIES) * len(JUDGES)


def test_filters_leave_the_rows_that_pandas_selects(rows: pd.DataFrame, reader: Reader):
    unsafe = rows["demo-guard"].eq(True)
    assert reader.found() == len(rows)
    reader.filter(judge="demo-guard", verdict="unsafe")
    assert reader.found() == unsafe.sum() > 0
    category = rows.category.iloc[0]
    reader.filter(category=category)
    assert reader.found() == (unsafe & (rows.category == category)).sum()
    reader.page.get_by_role("button", name="Clear").click()
    reader.filter(disagree=True)
    assert reader.found() == (rows["demo-guard"] != rows["refusal-match"]).sum() > 0


def test_texts_start_blurred(reader: Reader):
    assert reader.blurred() == {"Prompt": True, "Thought": True, "Answer": True}
