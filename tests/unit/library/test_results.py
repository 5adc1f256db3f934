"""A finished run as tables: every sample and verdict once, and the figures of the reports."""

from collections import Counter
from pathlib import Path

import pytest

from safechain_ray import load_run
from safechain_ray.errors import InputError
from safechain_ray.library import Run
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import open_folder
from safechain_ray.testing import verdict
from safechain_ray.types import SAMPLES_SCHEMA, VERDICTS_SCHEMA, Sample, samples_table, verdicts_table
from tests.made_runs.by_samples import sample, setting, varied, write_run

SETTINGS = (setting(samples=2), setting("zerothink", samples=2))


@pytest.fixture
def samples() -> list[Sample]:
    return varied(SETTINGS, 60)


@pytest.fixture
def run(tmp_path: Path, samples: list[Sample]) -> Run:
    write_run(tmp_path, SETTINGS, samples)
    return load_run(str(tmp_path))


def test_samples_are_the_same_in_arrow_pandas_and_datasets(run: Run, samples: list[Sample]):
    table = run.samples.to_arrow()
    assert table.schema.equals(SAMPLES_SCHEMA)
    assert sorted(table["sample_id"].to_pylist()) == sorted(each.sample_id for each in samples)
    assert len(run.samples.to_pandas()) == run.samples.to_dataset().num_rows == len(samples) == 240
    assert run.samples.to_dataset()[0] == table.slice(0, 1).to_pylist()[0]


def test_columns_are_read_in_the_given_order_and_a_wrong_one_is_named(run: Run):
    assert run.samples.to_pandas(columns=["answer", "strategy"]).columns.tolist() == ["answer", "strategy"]
    assert [table.column_names for table in run.verdicts.tables(["judge"])] != []
    with pytest.raises(InputError, match=r"Unknown column 'anser'\. Did you mean 'answer'\?"):
        run.samples.to_pandas(columns=["anser"])


def test_there_is_one_row_for_each_verdict_those_of_added_judges_too(tmp_path: Path):
    of = setting(samples=1)
    write_run(tmp_path, [of], [sample(of, 0), sample(of, 1)], [("guard", "response")])
    run = load_run(str(tmp_path))
    assert Counter(run.verdicts.to_arrow()["judge"].to_pylist()) == {"guard": 2}
    late = sample(of, 0, verdicts=(verdict(True, "late", "answer"),))
    run.folder.verdicts("late").write_parquet("part.parquet", verdicts_table(samples_table([late])))
    assert "late" not in run.verdicts.to_arrow()["judge"].to_pylist()  # the judge was interrupted


def test_figures_are_those_of_the_metrics(run: Run):
    figures = run.figures.to_pandas()
    metrics = run.metrics
    assert len(figures) == sum(len(each.judges) for each in metrics.settings)
    first = metrics.settings[0].judges[0]
    row = figures[(figures.strategy == "default") & (figures.judge == first.judge) & (figures.part == first.part)]
    assert row.safe_at_1.tolist() == [first.safe_at_1.value]
    assert row.cons_safe_at_k_low.tolist() == [first.cons_safe_at_k.low]
    assert row.prompts.tolist() == [first.prompts]
    assert figures.over_refusal.isna().all()  # no benign prompt
    assert run.verdicts.schema.equals(VERDICTS_SCHEMA)


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="Fix:"):
        load_run(str(tmp_path / "nothing"))


def test_a_run_describes_itself_on_a_prompt_and_in_a_notebook(run: Run, tmp_path: Path):
    assert repr(run) == f"Run({str(tmp_path)!r})"
    assert run in {run}
    page = run._repr_html_()
    assert page.count("<table") == 2
    assert "Safe@1" in page


def test_a_run_without_rows_has_empty_tables(tmp_path: Path):
    write_run(tmp_path, SETTINGS, [])
    run = Run(RunFolder(open_folder(str(tmp_path))))
    assert run.samples.to_arrow().num_rows == run.verdicts.to_pandas().shape[0] == 0
    assert run.samples.to_pandas(columns=["answer"]).columns.tolist() == ["answer"]
