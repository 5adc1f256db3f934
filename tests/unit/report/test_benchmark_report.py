"""Benchmarks as tables and as a page: every k, what is missing, the published figures, and names that do nothing."""

import io
from pathlib import Path

from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.published import published_passes
from safechain_ray.report.benchmark_tables import benchmark_document, with_published_passes
from safechain_ray.report.html.run import benchmark_page
from safechain_ray.report.renderers import markdown, print_document
from tests.made_benchmarks import finished

FIGURES = published_figures()


def sampled(folder: Path) -> BenchmarkRunMetrics:
    """Two samples each of four problems, one of them truncated."""
    metrics = finished(folder, {0: False, 2: False, 3: False}, samples=2, **{"sampling.temperature": 0.6}).metrics
    (sums,) = metrics.benchmarks
    outcomes = sums.outcomes | {"ok": 7, "truncated": 1}
    return metrics.model_copy(update={"benchmarks": (sums.model_copy(update={"outcomes": outcomes}),)})


def beside(metrics: BenchmarkRunMetrics, stand_in: str | None) -> str:
    found = published_passes(metrics, FIGURES.finetuning, stand_in)
    return markdown(with_published_passes(benchmark_document(metrics), metrics, found, FIGURES))


def test_every_k_has_a_column_with_its_interval(tmp_path: Path) -> None:
    shown = io.StringIO()
    print_document(benchmark_document(sampled(tmp_path)), Console(file=shown, width=80))
    text = shown.getvalue()
    assert "Problems solved by demo-reasoner temp=0.6 K=2" in text
    assert all(word in text for word in ("pass@1", "pass@2", "62.5", "75.0", "12.5%"))
    assert "4 of 1,319 problems were asked. The figures rest on only 4 problems." in " ".join(text.split())


def test_the_published_figure_is_beside_ours_with_what_differs(tmp_path: Path) -> None:
    text = beside(sampled(tmp_path), "R1-7B-safechain")
    assert "published figures of R1-7B-safechain" in text
    assert "| gsm8k | 62.5; 25.0-100.0 | 79.5\\* | -17.0; inside |" in text
    assert "model demo-reasoner, not R1-7B-safechain" in text
    assert "prompts and graders are not published" in text


def test_for_an_unpublished_model_a_note_names_the_published_ones(tmp_path: Path) -> None:
    text = beside(sampled(tmp_path), None)
    assert "No figures of demo-reasoner were published on these benchmarks" in text
    assert "R1-8B-wj-40k" in text


def test_the_page_holds_the_tables_and_the_run_and_nothing_of_a_name_acts(tmp_path: Path) -> None:
    done = finished(tmp_path, {})
    run = done.folder.read_run()
    assert run is not None
    hostile = done.metrics.model_copy(update={"model": "<script>alert(1)</script>"})
    page = benchmark_page(hostile, run, "R1-7B")
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert all(title in page for title in ("Beside the paper", "pass@1", "gsm8k: 4 prompts from"))
    assert "Beside the paper" not in benchmark_page(done.metrics, run)
