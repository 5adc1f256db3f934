"""A judge study as a picture: accuracy, F1 and Pearson's r of every judge, the published figures as marks beside."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.judge_study import JudgeStudy
from safechain_ray.report.escape import printable
from safechain_ray.report.judge_study import headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, PUBLISHED = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion, told apart by colour-blind eyes

PANELS = (
    ("Accuracy, %", "accuracy", 100),
    ("F1 (unsafe), %", "f1", 100),
    ("Pearson's r (PCC)", "pearson_r", 1),
)


def draw(study: JudgeStudy, kind: Literal["svg", "png"]) -> bytes:
    """The picture as a file; the same study gives the same bytes."""
    # Importing matplotlib takes a second, which no other command should pay.
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "safechain-ray", "svg.fonttype": "none", "font.size": 10}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        _figure(study).savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()


def _figure(study: JudgeStudy) -> Figure:
    from matplotlib.figure import Figure

    names = _names(study)
    figure = Figure(figsize=(11, 1.9 + 0.42 * len(names)), layout="constrained")
    all_axes = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (label, field, scale) in zip(all_axes, PANELS, strict=True):
        _draw_panel(axes, study, names, field, scale)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="0.88")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_yticks(range(len(names)), [printable(name) for name in names], parse_math=False)
    all_axes[0].set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(headline(study), parse_math=False, fontsize=11)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _names(study: JudgeStudy) -> list[str]:
    """The lines of the picture: ours, then the published judges that are not among them."""
    ours = [rater.name for rater in study.raters]
    return list(dict.fromkeys([*ours, *(_line(name, study) for name in study.published.judges)]))


def _line(name: str, study: JudgeStudy) -> str:
    """The line of a published judge: that of the same judge here, or one of its own."""
    ours = study.published.judges[name].judge
    same = ours not in study.differs and any(rater.name == ours for rater in study.raters)
    return ours if same else _published(name)


def _published(name: str) -> str:
    return f"{name} (published)"


def _draw_panel(axes: Axes, study: JudgeStudy, names: list[str], field: str, scale: int) -> None:
    estimates: list[Estimate] = [getattr(rater.agreement, field) for rater in study.raters]
    shown = [
        (row, scale * value, *(scale * (value if end is None else end) for end in (each.low, each.high)))
        for row, each in enumerate(estimates)
        if (value := each.value) is not None
    ]
    if shown:
        rows, values, lows, highs = zip(*shown, strict=True)
        below = [value - low for value, low in zip(values, lows, strict=True)]
        above = [high - value for value, high in zip(values, highs, strict=True)]
        axes.errorbar(
            values, rows, xerr=(below, above), fmt="o", color=OURS, capsize=3, label="this study, with 95% interval"
        )
    places = [names.index(_line(name, study)) for name in study.published.judges]
    figures = [scale * getattr(judge, field) for judge in study.published.judges.values()]
    label = f"published ({study.published_by}), over other responses"
    axes.plot(figures, places, linestyle="", marker="D", fillstyle="none", color=PUBLISHED, label=label)
    lowest = min([*figures, *(low for _, _, low, _ in shown)])
    axes.set_xlim(lowest - 0.04 * scale if lowest < 0 else 0, scale)
