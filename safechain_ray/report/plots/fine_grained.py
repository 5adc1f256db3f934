"""The plots of the fine-grained analysis: verdicts on thought against answer, and safety by the number of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from safechain_ray.analysis.fine_grained import AtK, FineGrained, SampleCountCurve
from safechain_ray.analysis.thought_answer import ThoughtAnswer
from safechain_ray.report.document import printable
from safechain_ray.report.labels import common_sampling, percent, setting_label
from safechain_ray.report.plots.curves import CurvePanel, CurvePoint, draw_curves
from safechain_ray.report.plots.marks import Mark, Panel, Row, first_rows, hover_text
from safechain_ray.report.plots.rows import draw_rows
from safechain_ray.report.plots.run import MOST_ROWS
from safechain_ray.report.plots.sheet import SERIES
from safechain_ray.report.plots.svg import Plot, draw_plot

COMBINATIONS = (
    "thought safe, answer safe",
    "thought unsafe, answer safe",
    "thought safe, answer unsafe",
    "both unsafe",
)

METRICS = (("safe_at_k", "Safe@k"), ("cons_safe_at_k", "ConsSafe@k"))

MOST_POINTS = 64
"""Points of a curve. More would touch each other."""


@dataclass(frozen=True, slots=True)
class NamedCurve:
    name: str
    curve: SampleCountCurve


def analysis_plots(analysis: FineGrained) -> list[Plot]:
    """The plots for which the analysis has verdicts."""
    common = common_sampling(analysis.settings)
    names = [setting_label(setting, common) for setting in analysis.settings]
    rows = [
        _row(f"{name}; {printable(each.judge)}", each)
        for name, setting in zip(names, analysis.settings, strict=True)
        for each in setting.thought_answer
        if sum(_counts(each))
    ]
    curves: dict[str, list[NamedCurve]] = {}
    for name, setting in zip(names, analysis.settings, strict=True):
        for each in (curve for curve in setting.sample_counts if curve.points):
            curves.setdefault(f"{printable(each.judge)}, {each.part}", []).append(NamedCurve(name, each))
    return [*([thought_answer_plot(rows)] if rows else []), *([sample_count_plot(curves)] if curves else [])]


def thought_answer_plot(rows: list[Row]) -> Plot:
    """A bar for each setting and judge: its samples by the verdicts on thought and answer."""
    rows, rest = first_rows(rows, MOST_ROWS, "rows", "The tables have all.")
    return draw_plot(
        "thought-answer",
        "Thought against answer",
        f"Samples by the verdicts of one judge on their thought and on their answer, where both exist.{rest}",
        "Samples by the verdicts on thought and answer",
        partial(draw_rows, rows=rows, panels=[Panel("")], names=COMBINATIONS, look="stretches"),
    )


def sample_count_plot(curves: dict[str, list[NamedCurve]]) -> Plot:
    """A line of two panels for each judge and part: Safe@k and ConsSafe@k against k, a curve a setting."""
    points = [each.curve.points for of_judge in curves.values() for each in of_judge[:SERIES]]
    most = max(map(len, points))
    settings = max(map(len, curves.values()))
    ks = _shown_ks(most)
    names = list(dict.fromkeys(each.name for of_judge in curves.values() for each in of_judge[:SERIES]))[:SERIES]
    panels = [
        CurvePanel(f"{label}, {judge}", tuple(_curve(of_judge, name, judge, field, label, ks) for name in names))
        for judge, of_judge in curves.items()
        for field, label in METRICS
    ]
    left_out = f" The first {SERIES} of {settings} settings." if settings > SERIES else ""
    thinned = f" Marks at {len(ks)} of {most:,} values of k." if len(ks) < most else ""
    return draw_plot(
        "sample-count",
        "Safety against the number of samples",
        f"Expected for k of the K samples of each prompt, with 95% intervals as bands; up is safer.{left_out}{thinned}",
        "Safe@k and ConsSafe@k against k",
        partial(
            draw_curves,
            panels=panels,
            beside=len(METRICS),
            names=names,
            ticks=[(_place(k, most), str(k)) for k in ks],
            axis="k",
        ),
    )


def _row(name: str, each: ThoughtAnswer) -> Row:
    counts = _counts(each)
    total = sum(counts)
    ends = [0.0, *accumulate(count / total for count in counts)]
    cell = tuple(
        Mark(
            f"{name}: {words}: {percent(count / total)}%, {count:,} of {total:,} samples",
            percent(count / total),
            count / total,
            ends[series],
            ends[series + 1],
            series,
        )
        for series, (count, words) in enumerate(zip(counts, COMBINATIONS, strict=True))
    )
    return Row(name, (cell,))


def _counts(each: ThoughtAnswer) -> tuple[int, int, int, int]:
    """In the order of COMBINATIONS."""
    safe, unsafe = each.thought_safe, each.thought_unsafe
    return safe.safe, unsafe.safe, safe.unsafe, unsafe.unsafe


def _curve(
    of_judge: Sequence[NamedCurve], name: str, judge: str, field: str, label: str, ks: Sequence[int]
) -> tuple[CurvePoint, ...]:
    """The curve of one setting; empty where the judge has none."""
    points: Sequence[AtK] = next((each.curve.points for each in of_judge if each.name == name), ())
    most = ks[-1]
    return tuple(
        CurvePoint(_place(point.k, most), metric, hover_text(metric, name, judge, f"{label[:-1]}{point.k}"))
        for point in points
        if point.k in ks or point.k == len(points)
        for metric in [getattr(point, field)]
    )


def _shown_ks(most: int) -> list[int]:
    """1 to `most`; of many equally spaced ones, with both ends."""
    count = min(most, MOST_POINTS)
    return sorted({round(1 + step * (most - 1) / max(1, count - 1)) for step in range(count)})


def _place(k: int, most: int) -> float:
    return (k - 1) / max(1, most - 1)
