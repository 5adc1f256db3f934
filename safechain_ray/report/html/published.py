"""The section of the published figures: ours beside them, and in what ours differ."""

from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.published import StandIns, beside
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.html.document_table import html_table
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.published import published_notes, published_table


def published_section(metrics: RunMetrics, stand_ins: StandIns) -> Markup | None:
    """None where nothing was published of the run's model and settings."""
    figures = published_figures()
    found = beside(metrics, figures, stand_ins)
    if not found:
        return None
    notes = published_notes(metrics, found, figures, stand_ins)
    return join(
        html_table(published_table(metrics, found, figures)),
        element("ul", [element("li", printable(note)) for note in notes], class_="legend"),
    )
