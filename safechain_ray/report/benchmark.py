"""The figures of benchmarks as tables: how many problems were solved, and the published figures beside."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from safechain_ray.catalog.published import PublishedFigures
from safechain_ray.metrics.benchmark import BenchmarkFigures, BenchmarkRunMetrics
from safechain_ray.metrics.published import PublishedPass
from safechain_ray.report.document import Cell, Document, Row, Table, cell, figure_columns, text_column
from safechain_ray.report.labels import common_sampling, metric_lines, percent, setting_label
from safechain_ray.report.published import points
from safechain_ray.report.tables import FEW_PROMPTS

LEGEND = (
    "In percent, with 95% intervals; in brackets, where grades are missing, the bounds with all of them wrong and all "
    "of them right. A truncated sample is graded as it stands: without an answer it is wrong."
)
PUBLISHED_LEGEND = (
    "pass@1 in percent: ours with its 95% interval, the difference of ours from the published figure in points, and "
    "whether the published figure lies inside our interval."
)
UNPUBLISHED = (
    "The paper's adaptations of prompts and graders are not published: ours are those of the repositories that it "
    "names, as far as that is known (docs/benchmarks.md)."
)


def benchmark_document(metrics: BenchmarkRunMetrics) -> Document:
    """One row a benchmark, and what to know."""
    return Document((benchmark_table(metrics),), metrics.caveats, tuple(_notes(metrics)))


def benchmark_table(metrics: BenchmarkRunMetrics) -> Table:
    """pass@k for every k that the run tells."""
    common = common_sampling(metrics.benchmarks)
    ks = sorted({k for figures in metrics.benchmarks for k in figures.grades.pass_at})
    passes = figure_columns(*(f"pass@{k}" for k in ks))
    return Table(
        title=" ".join(["Problems solved by", metrics.model, *common.values()]),
        columns=(
            text_column("Benchmark"),
            *figure_columns("Problems"),
            *passes,
            *figure_columns("Missing", "Truncated", "Errors"),
        ),
        groups=(tuple(_row(figures, ks, _name(figures, common)) for figures in metrics.benchmarks),),
        caption=LEGEND,
    )


def with_published_passes(
    document: Document, metrics: BenchmarkRunMetrics, found: Sequence[PublishedPass], figures: PublishedFigures
) -> Document:
    """The document with the published figures behind its tables, and what to know of them behind its notes."""
    if not found:
        names = ", ".join(figures.finetuning.rows())
        nothing = f"Nothing was published of {metrics.model} on these benchmarks. --paper NAME puts others' beside: "
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
        columns=(text_column("Benchmark"), *figure_columns("Ours", "Published", "Difference")),
        groups=(tuple(_beside(ours[each.benchmark], each) for each in found),),
        caption=PUBLISHED_LEGEND,
    )


def published_notes(found: Sequence[PublishedPass]) -> Iterator[str]:
    """In what ours are not what was published."""
    for each in found:
        if each.differs:
            yield f"{each.benchmark} differs from the published one: {'; '.join(each.differs)}."
    yield UNPUBLISHED


def _name(figures: BenchmarkFigures, common: Container[str] = ()) -> str:
    """The setting, with its style where that is neither the default one nor named by the strategy."""
    label = setting_label(figures, common)
    return label if figures.style in ("default", figures.strategy) else f"{label} style={figures.style}"


def _row(figures: BenchmarkFigures, ks: Sequence[int], name: str) -> Row:
    grades = figures.grades
    return (
        cell(name),
        cell(f"{grades.problems:,}"),
        *(_pass(figures, k) for k in ks),
        _count(grades.missing, figures.rows_expected),
        _count(figures.outcomes["truncated"], figures.rows),
        _count(figures.outcomes["error"], figures.rows),
    )


def _pass(figures: BenchmarkFigures, k: int) -> Cell:
    grades = figures.grades
    return cell(*metric_lines(grades.pass_at[k], grades.missing)) if k in grades.pass_at else cell("-")


def _count(count: int, of: int) -> Cell:
    """The count, and below it, where there is one, its share in percent."""
    return cell(f"{count:,}", f"{percent(count / of)}%", style="yellow") if count else cell("0")


def _beside(ours: BenchmarkFigures, published: PublishedPass) -> Row:
    star = "*" if published.differs else ""
    difference = cell("none")
    if published.difference is not None:
        difference = cell(points(published.difference), "inside" if published.within_interval else "outside")
    figure = _pass(ours, 1)
    return cell(published.benchmark), figure, cell(percent(published.share) + star), difference


def _notes(metrics: BenchmarkRunMetrics) -> Iterator[str]:
    for figures in metrics.benchmarks:
        said = list(_said(figures))
        if said:
            yield f"{_name(figures)}: {' '.join(said)}"


def _said(figures: BenchmarkFigures) -> Iterator[str]:
    problems, published = figures.grades.problems, figures.problems_published
    if published is not None and problems != published:
        yield f"{problems:,} of {published:,} problems were asked."
    if figures.rows < figures.rows_expected:
        yield f"Only {figures.rows:,} of {figures.rows_expected:,} rows are there."
    if figures.outcomes["blocked"]:
        yield f"{figures.outcomes['blocked']:,} were blocked by the provider."
    if figures.ungraded:
        yield f"{figures.ungraded:,} answers could not be graded; the same command grades them again."
    if problems < FEW_PROMPTS:
        yield f"The figures rest on only {problems} problems."
