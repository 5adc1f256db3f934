"""The report of benchmarks as a page: what to know first, the figures, the published ones beside them, the run."""

from typing import Any

from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.published import published_passes
from safechain_ray.report.benchmark import benchmark_document, published_notes, published_table
from safechain_ray.report.document import Document
from safechain_ray.report.escape import printable
from safechain_ray.report.html.facts import run_facts
from safechain_ray.report.html.markup import Markup, element, html_table, join
from safechain_ray.report.html.page import Section, assemble
from safechain_ray.runs.run_file import RunFile


def benchmark_page(metrics: BenchmarkRunMetrics, run: RunFile, stand_in: str | None = None) -> str:
    """`run` is the content of run.json; published figures are of the run's own model, or of `stand_in`."""
    document = benchmark_document(metrics)
    parts = [
        Section("first", "To know first", _know_first(document)),
        Section("figures", "Figures", join([html_table(table) for table in document.tables])),
        *_published(metrics, stand_in),
        Section("run", "The run", run_facts(run)),
    ]
    rows = sum(figures.rows for figures in metrics.benchmarks)
    line = f"{rows:,} samples · {len(metrics.benchmarks)} benchmark{'s' if len(metrics.benchmarks) > 1 else ''}"
    return assemble(f"Benchmarks of {printable(metrics.model)}", line, parts)


def _know_first(document: Document) -> Markup:
    return join(
        [element("p", caveat, class_="caveat") for caveat in document.caveats],
        _list(document.notes)
        if document.notes
        else element("p", "Every problem was asked, and no grade is missing.", class_="legend"),
    )


def _published(metrics: BenchmarkRunMetrics, stand_in: str | None) -> list[Section]:
    figures = published_figures()
    found = published_passes(metrics, figures.finetuning, stand_in)
    if not found:
        return []
    table = html_table(published_table(metrics, found, figures))
    return [Section("published", "Beside the paper", join(table, _list(published_notes(found))))]


def _list(notes: Any) -> Markup:
    return element("ul", [element("li", printable(note)) for note in notes], class_="legend")
