"""The document and the plot of a judge study: agreement of each judge and vote, and of the paper's pilot judges."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from safechain_ray.catalog.published import PilotJudge
from safechain_ray.metrics.agreement import JudgeStudy, Rater
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.report.document import (
    Cell,
    Column,
    Document,
    Row,
    Table,
    cell,
    figure_cell,
    figure_columns,
    printable,
    text_column,
)
from safechain_ray.report.labels import estimate_cell, estimate_lines, percent
from safechain_ray.report.renderers import markdown
from safechain_ray.storage import Folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, PUBLISHED = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion, distinct for colour-blind eyes
PANELS = (
    ("Accuracy, %", "accuracy", 100),
    ("F1 (unsafe), %", "f1", 100),
    ("Pearson's r (PCC)", "pearson_r", 1),
)

COLUMNS = (
    text_column("Judge"),
    *figure_columns("Rows", "Accuracy", "F1", "PCC", "Kappa"),
    Column(("TP FP", "FN TN")),
)

LEGEND = (
    "Unsafe is positive. Accuracy and F1 in percent; PCC is Pearson's r of verdicts and labels. All with 95% "
    "intervals. Rows without a verdict are left out of a judge's figures."
)

OTHER_JUDGE = "** Published, by a judge that differs from the one here: see the notes."


def study_document(study: JudgeStudy) -> Document:
    pilot = tuple(tuple(_published_cells(name, judge, study)) for name, judge in study.published.judges.items())
    table = Table(headline(study), COLUMNS, (tuple(map(_row, study.raters)), pilot), _legend(study))
    notes = [f"{name} here is not {_paper_name(name, study)}: {reason}." for name, reason in study.differs.items()]
    if study.left_out:
        notes.append(f"Left out because they have no label of the {study.part}: {study.left_out:,} of the samples.")
    return Document((table,), caveats=study.caveats, notes=tuple(map(printable, notes)))


def write_study(study: JudgeStudy, folder: Folder) -> None:
    """study.md, study.svg and study.png, into the study's folder."""
    folder.write_text("study.md", markdown(study_document(study)))
    folder.write_bytes("study.svg", draw(study, "svg"))
    folder.write_bytes("study.png", draw(study, "png"))


def draw(study: JudgeStudy, kind: Literal["svg", "png"]) -> bytes:
    """The picture as a file; the same study gives the same bytes."""
    # Importing matplotlib takes a second, which no other command should pay.
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "safechain-ray", "svg.fonttype": "none", "font.size": 10}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        _figure(study).savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()


def headline(study: JudgeStudy) -> str:
    share = percent(study.unsafe / study.rows)
    of = "" if study.part == "response" else f" of the {study.part}"
    return f"Judges against labels{of}: {printable(study.data)}, {study.rows:,} rows, {share}% of them unsafe"


def _legend(study: JudgeStudy) -> str:
    here = [
        f"{name} is {judge.judge} here"
        for name, judge in study.published.judges.items()
        if _is_rated(judge, study) and judge.judge not in study.differs
    ]
    same = f"; {', '.join(here)}" if here else ""
    other = f" {OTHER_JUDGE}" if study.differs else ""
    return f"{LEGEND} * Published: {study.published_by}, over {study.published.kept} other responses{same}.{other}"


def _row(rater: Rater) -> Row:
    found, cells = rater.agreement, rater.agreement.confusion
    rows = (f"{found.n:,} of", f"{found.n + found.missing:,}") if found.missing else (f"{found.n:,}",)
    shares = map(estimate_cell, (found.accuracy, found.f1))
    others = (
        figure_cell(estimate_lines(each, "{:.3f}".format, "{:.2f}".format)) for each in (found.pearson_r, found.kappa)
    )
    positive = f"{cells.true_positive:,} {cells.false_positive:,}"
    negative = f"{cells.false_negative:,} {cells.true_negative:,}"
    return cell(rater.name), cell(*rows), *shares, *others, cell(positive, negative)


def _published_cells(name: str, judge: PilotJudge, study: JudgeStudy) -> Iterator[Cell]:
    yield cell(f"{name} {'**' if judge.judge in study.differs else '*'}")
    yield cell(f"{study.published.kept}")
    yield cell(percent(judge.accuracy))
    yield cell(percent(judge.f1))
    yield cell(f"{judge.pearson_r:.3f}")
    yield cell("")
    yield cell("")


def _is_rated(judge: PilotJudge, study: JudgeStudy) -> bool:
    return any(rater.name == judge.judge for rater in study.raters)


def _paper_name(judge: str, study: JudgeStudy) -> str:
    return next((name for name, published in study.published.judges.items() if published.judge == judge), judge)


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
