"""The report of a real run in a real browser: its figures are those of the run's files."""

from pathlib import Path

import pandas as pd
import pytest

from safechain_ray.metrics.summary import RunMetrics
from tests.browser.browser_page import Reader, figures_of
from tests.real_run import JUDGES, STRATEGIES, RealRun


@pytest.fixture
def finished(real_run: RealRun) -> Path:
    return real_run.output


@pytest.fixture
def reader(finished: Path, open_page) -> Reader:
    return Reader(open_page(finished / "report.html").page)


@pytest.fixture
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
