"""The page of a benchmark run: problems solved, published figures beside them, the run, every graded answer."""

from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.published import published_passes
from safechain_ray.report.benchmark_tables import benchmark_document, published_notes, published_table
from safechain_ray.report.document import printable
from safechain_ray.report.html.browser import browser_section, with_absent_rows
from safechain_ray.report.html.definitions import OF_GRADES, with_glossary
from safechain_ray.report.html.elements import Section, assemble, caveats_and_notes, html_notes, html_table, join
from safechain_ray.report.html.facts import run_facts
from safechain_ray.report.html.samples import PackedSamples
from safechain_ray.runs.run_file import RunFile


def benchmark_page(
    metrics: BenchmarkRunMetrics, run: RunFile, samples: PackedSamples, stand_in: str | None = None
) -> str:
    """`run` is the content of run.json; published figures are of the run's own model, or of `stand_in`."""
    rows = sum(figures.rows for figures in metrics.benchmarks)
    document = with_absent_rows(benchmark_document(metrics), rows, samples)
    figures = published_figures()
    found = published_passes(metrics, figures.finetuning, stand_in)
    published = (
        join(html_table(published_table(metrics, found, figures)), html_notes(published_notes(found)))
        if found
        else None
    )
    complete = "Every problem was asked, and no grade is missing."
    sections = [
        Section("first", "Warnings and notes", caveats_and_notes(document, complete)),
        Section("figures", "Figures", join(map(html_table, document.tables))),
        *([] if published is None else [Section("published", "Beside the paper", published)]),
        Section("run", "The run", run_facts(run)),
        browser_section(samples, "graded samples"),
    ]
    line = f"{rows:,} samples · {len(metrics.benchmarks)} benchmark{'s' if len(metrics.benchmarks) > 1 else ''}"
    return assemble(f"Benchmarks of {printable(metrics.model)}", line, with_glossary(sections, OF_GRADES), samples)
