"""What plots of rows show: figures with their intervals, in cells of labelled rows, on a scale for each panel."""

from dataclasses import dataclass

from safechain_ray.metrics.intervals import Estimate
from safechain_ray.report.labels import percent


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure with its interval in the unit of its panel. Without a value only its words are shown."""

    hover: str
    words: str
    value: float | None
    low: float = 0.0
    high: float = 0.0
    series: int = 0


Cell = tuple[Mark | None, ...]
"""The figures of a row in one panel, below each other. None leaves a line empty."""


@dataclass(frozen=True, slots=True)
class Row:
    """A label with a cell for each panel, and a note at the right. A row of another `group` gets a heading."""

    label: str
    cells: tuple[Cell, ...]
    group: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """A horizontal axis: its ends, its labelled ticks, the place of a stronger line, and names of both directions."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    axis: float | None = None
    ends: tuple[str, str] | None = None


SHARES = Scale(0.0, 1.0, tuple((share, f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)))


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    scale: Scale = SHARES


def share_mark(metric: Estimate, *names: str, series: int = 0) -> Mark:
    """A share of 1, named for its hover text."""
    words, hover = percent(metric.value), hover_text(metric, *names)
    if metric.value is None:
        return Mark(hover, words, None, series=series)
    return Mark(hover, words, metric.value, *interval(metric), series)


def interval(metric: Estimate) -> tuple[float, float]:
    """The ends of the interval of a defined figure; both are its value where it has no interval."""
    assert metric.value is not None
    return (
        metric.value if metric.low is None else metric.low,
        metric.value if metric.high is None else metric.high,
    )


def hover_text(metric: Estimate, *names: str) -> str:
    """All of a figure, for example `default; Safe@1: 40.6% (95% interval 37.1 to 44.2), 313 prompts`."""
    where = "; ".join(names)
    if metric.value is None:
        return f"{where}: no verdict"
    ends = ""
    if metric.low is not None and metric.high is not None:
        ends = f" (95% interval {percent(metric.low)} to {percent(metric.high)})"
    return f"{where}: {percent(metric.value)}%{ends}, {metric.n:,} prompts"


def first_rows(rows: list[Row], limit: int, what: str, all_of_them: str) -> tuple[list[Row], str]:
    """At most `limit` rows, and a sentence on the rest; the sentence is empty without a rest.

    Example:
        >>> first_rows([], 60, "rows", "The table has all of them.")
        ([], '')
    """
    if len(rows) <= limit:
        return rows, ""
    return rows[:limit], f" The first {limit} of {len(rows):,} {what}. {all_of_them}"
