"""The plot of a judge study, as a file and for a page: accuracy, F1 and correlation of every judge and vote."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from math import floor
from typing import Any, Literal

from safechain_ray.metrics.agreement import JudgeStudy
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.report.document import printable
from safechain_ray.report.labels import percent
from safechain_ray.report.plots.marks import SHARES, Mark, Panel, Row, Scale, interval
from safechain_ray.report.plots.rows import draw_rows
from safechain_ray.report.plots.sheet import DPI, WIDE, Sheet, plot_style
from safechain_ray.report.plots.svg import Plot, draw_plot

PNG_DPI = 2 * DPI

OURS, PUBLISHED = 0, 1
"""The series of marks."""

FIELDS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "accuracy": ("Accuracy", percent),
    "f1": ("F1 (unsafe)", percent),
    "pearson_r": ("Pearson's r (PCC)", lambda value: "none" if value is None else f"{value:.3f}"),
}


def study_picture(study: JudgeStudy, headline: str, kind: Literal["svg", "png"]) -> bytes:
    """The picture as a file, with `headline` above it; the same study gives the same bytes."""
    buffer = io.BytesIO()
    with plot_style():
        sheet = _draw(study, WIDE, headline=headline, for_file=True)
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        sheet.figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=metadata)
    return buffer.getvalue()


def study_plot(study: JudgeStudy) -> Plot:
    """The same plot for a page."""
    return draw_plot(
        "agreement",
        "Agreement with the labels",
        "Accuracy, F1 of unsafe, and Pearson's r of verdicts and labels, with 95% intervals; right is better.",
        f"Agreement of judges with the labels of {printable(study.data)}",
        partial(_draw, study),
    )


def _draw(study: JudgeStudy, width: float, **file: Any) -> Sheet:
    """A row for each judge, vote and published judge, a panel for each figure."""
    rows = [
        Row(printable(name), tuple(tuple(_marks(name, field, study)) for field in FIELDS)) for name in _names(study)
    ]
    panels = [
        Panel(label, _correlations(study) if field == "pearson_r" else SHARES) for field, (label, _) in FIELDS.items()
    ]
    names = ("this study, with 95% interval", f"published ({study.published_by}), over other responses")
    return draw_rows(width, rows, panels, names, **file)


def _marks(name: str, field: str, study: JudgeStudy) -> Iterator[Mark]:
    """Our figure of this line, and the published one below it."""
    label, words = FIELDS[field]
    for rater in study.raters:
        if rater.name == name:
            found: Estimate = getattr(rater.agreement, field)
            low, high = (0.0, 0.0) if found.value is None else interval(found)
            between = "" if found.low is None else f" (95% interval {words(low)} to {words(high)})"
            hover = f"{printable(name)}; {label}: {words(found.value)}{between}, {found.n:,} rows"
            yield Mark(hover, words(found.value), found.value, low, high, OURS)
    for published, judge in study.published.judges.items():
        if _line(published, study) == name:
            value: float = getattr(judge, field)
            hover = f"{published} in {study.published_by}; {label}: {words(value)}"
            yield Mark(hover, words(value), value, value, value, PUBLISHED)


def _correlations(study: JudgeStudy) -> Scale:
    """From 0, or from below the lowest interval, to 1."""
    lows = [end for rater in study.raters for end in (rater.agreement.pearson_r.low, rater.agreement.pearson_r.value)]
    published = [judge.pearson_r for judge in study.published.judges.values()]
    low = floor(4 * min([0.0, *published, *(end for end in lows if end is not None)])) / 4
    step = 0.25 if low >= 0 else 0.5
    ticks = [place * step for place in range(floor(low / step), int(1 / step) + 1)]
    return Scale(low, 1.0, tuple((tick, f"{tick:g}") for tick in ticks if tick >= low), axis=0.0)


def _names(study: JudgeStudy) -> list[str]:
    """The lines of the picture: our judges and votes, then the published judges that are not among them."""
    ours = [rater.name for rater in study.raters]
    return list(dict.fromkeys([*ours, *(_line(name, study) for name in study.published.judges)]))


def _line(name: str, study: JudgeStudy) -> str:
    """The line of a published judge: that of the same judge here, or one of its own."""
    ours = study.published.judges[name].judge
    same = ours not in study.differs and any(rater.name == ours for rater in study.raters)
    return ours if same else f"{name} (published)"
