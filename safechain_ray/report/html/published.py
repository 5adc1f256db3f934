"""The section of the published figures, of a run or a sweep: ours beside them, and in what ours differ."""

from collections.abc import Iterable, Sequence

from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.published import StandIns, beside
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.html.document_table import html_table
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.leaderboard import leaderboard_beside
from safechain_ray.report.published import published_notes, published_table


def published_section(metrics: RunMetrics, stand_ins: StandIns) -> Markup | None:
    """None where nothing was published of the run's model and settings."""
    figures = published_figures()
    found = beside(metrics, figures, stand_ins)
    if not found:
        return None
    notes = published_notes(metrics, found, figures, stand_ins)
    return _with_notes(html_table(published_table(metrics, found, figures)), notes)


def published_sweep_section(runs: Sequence[RunMetrics], stand_ins: StandIns) -> Markup | None:
    """Every model in every setting, published figures below ours; None where nothing was published of any."""
    figures = published_figures()
    if not any(beside(run, figures, stand_ins) for run in runs):
        return None
    document = leaderboard_beside(runs, figures, stand_ins)
    return _with_notes(html_table(document.tables[-1]), document.notes)


def _with_notes(table: Markup, notes: Iterable[str]) -> Markup:
    return join(table, element("ul", [element("li", printable(note)) for note in notes], class_="legend"))
