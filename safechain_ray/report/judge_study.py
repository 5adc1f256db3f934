"""The document and the files of a judge study: agreement of each judge and vote, and of the paper's pilot judges."""

from collections.abc import Iterator

from safechain_ray.catalog.published import PilotJudge
from safechain_ray.metrics.agreement import JudgeStudy, Rater
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
from safechain_ray.report.plots.judge_study import study_picture
from safechain_ray.report.renderers import markdown
from safechain_ray.storage import Folder

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
    folder.write_bytes("study.svg", study_picture(study, headline(study), "svg"))
    folder.write_bytes("study.png", study_picture(study, headline(study), "png"))


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
