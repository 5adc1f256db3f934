"""The document of a benchmark run: passes of each benchmark, published ones beside them, and notes."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from safechain_ray.catalog.published import PublishedFigures
from safechain_ray.metrics.benchmark import BenchmarkFigures, BenchmarkRunMetrics
from safechain_ray.metrics.published import PublishedPass
from safechain_ray.report.document import (
    Cell,
    Document,
    Row,
    Table,
    cell,
    text_column,
)
from safechain_ray.report.glossary import term_column, term_columns
from safechain_ray.report.labels import (
    common_sampling,
    count_cell,
    metric_cell,
    percent,
    setting_label,
    share_cell,
)
from safechain_ray.report.published import PUBLISHED_COLUMNS, difference_cell
from safechain_ray.report.tables import FEW_PROMPTS

BENCHMARK_LEGEND = (
    "In percent, with 95% intervals. Where grades are missing, brackets give the bounds: with all of them wrong, and "
    "with all of them correct. A truncated sample is graded as it is: without an answer it is wrong."
)

PUBLISHED_LEGEND = (
    "pass@1 in percent: ours with its 95% interval, the difference of ours from the published figure in points, and "
    "whether the published figure is inside our interval."
)

UNPUBLISHED = (
    "The paper's adaptations of prompts and graders are not published. Ours are those of the repositories that the "
    "paper names, as far as they are known (docs/benchmarks.md)."
)


def benchmark_document(metrics: BenchmarkRunMetrics) -> Document:
    """One row a benchmark, and notes."""
    return Document((benchmark_table(metrics),), metrics.caveats, tuple(_notes(metrics)))


def benchmark_table(metrics: BenchmarkRunMetrics) -> Table:
    """One row a benchmark, one column for every k of its pass@k."""
    common = common_sampling(metrics.benchmarks)
    ks = sorted({k for figures in metrics.benchmarks for k in figures.grades.pass_at})
    passes = (term_column("pass-at-k", f"pass@{k}") for k in ks)
    return Table(
        title=" ".join(["Problems solved by", metrics.model, *common.values()]),
        columns=(
            text_column("Benchmark"),
            *term_columns("problems"),
            *passes,
            term_column("missing-grades", "Missing"),
            term_column("truncated", "Truncated"),
            term_column("error", "Errors"),
        ),
        groups=(tuple(_row(figures, ks, benchmark_name(figures, common)) for figures in metrics.benchmarks),),
        caption=BENCHMARK_LEGEND,
        is_sortable=True,
    )


def with_published_passes(
    document: Document, metrics: BenchmarkRunMetrics, found: Sequence[PublishedPass], figures: PublishedFigures
) -> Document:
    """The document with the published figures after its tables, and their notes after its notes."""
    if not found:
        names = ", ".join(figures.finetuning.rows())
        nothing = f"No figures of {metrics.model} were published on these benchmarks. --paper NAME adds those of: "
        return replace(document, notes=(*document.notes, f"{nothing}{names}."))
    return replace(
        document,
        tables=(*document.tables, published_table(metrics, found, figures)),
        notes=(*document.notes, *published_notes(found)),
    )


def published_table(metrics: BenchmarkRunMetrics, found: Sequence[PublishedPass], figures: PublishedFigures) -> Table:
    """One row a benchmark that has a published figure."""
    ours = {each.dataset: each for each in metrics.benchmarks}
    return Table(
        title=f"Beside the published figures of {found[0].model} ({figures.source})",
        columns=(text_column("Benchmark"), *PUBLISHED_COLUMNS),
        groups=(tuple(_published_row(ours[each.benchmark], each) for each in found),),
        caption=PUBLISHED_LEGEND,
        is_sortable=True,
    )


def published_notes(found: Sequence[PublishedPass]) -> Iterator[str]:
    """How ours differ from what was published."""
    for each in found:
        if each.differs:
            yield f"{each.benchmark} differs from the published one: {'; '.join(each.differs)}."
    yield UNPUBLISHED


def benchmark_name(figures: BenchmarkFigures, common: Container[str] = ()) -> str:
    """The setting, with its style unless the style is the default or is named by the strategy."""
    label = setting_label(figures, common)
    return label if figures.style in ("default", figures.strategy) else f"{label} style={figures.style}"


def _row(figures: BenchmarkFigures, ks: Sequence[int], name: str) -> Row:
    grades = figures.grades
    return (
        cell(name),
        count_cell(grades.problems),
        *(_pass_cell(figures, k) for k in ks),
        share_cell(grades.missing, figures.rows_expected, is_warning=True),
        share_cell(figures.outcomes["truncated"], figures.rows, is_warning=True),
        share_cell(figures.outcomes["error"], figures.rows, is_warning=True),
    )


def _pass_cell(figures: BenchmarkFigures, k: int) -> Cell:
    grades = figures.grades
    return metric_cell(grades.pass_at[k], grades.missing) if k in grades.pass_at else cell("-")


def _published_row(ours: BenchmarkFigures, published: PublishedPass) -> Row:
    star = "*" if published.differs else ""
    return (
        cell(published.benchmark),
        _pass_cell(ours, 1),
        cell(percent(published.share) + star),
        difference_cell(published.difference, bool(published.within_interval)),
    )


def _notes(metrics: BenchmarkRunMetrics) -> Iterator[str]:
    for figures in metrics.benchmarks:
        sentences = list(_sentences(figures))
        if sentences:
            yield f"{benchmark_name(figures)}: {' '.join(sentences)}"


def _sentences(figures: BenchmarkFigures) -> Iterator[str]:
    problems, published = figures.grades.problems, figures.problems_published
    if published is not None and problems != published:
        yield f"{problems:,} of {published:,} problems were asked."
    if figures.rows < figures.rows_expected:
        yield f"Only {figures.rows:,} of {figures.rows_expected:,} rows are there."
    if figures.outcomes["blocked"]:
        yield f"The provider blocked {figures.outcomes['blocked']:,} of {figures.rows:,} samples."
    if figures.ungraded:
        yield f"{figures.ungraded:,} answers could not be graded. Rerun the command to grade them again."
    if problems < FEW_PROMPTS:
        yield f"The figures rest on only {problems} problems."
