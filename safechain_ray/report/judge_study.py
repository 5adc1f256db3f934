"""A judge study as a table: for the terminal, and as Markdown."""

from collections.abc import Callable, Iterable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safechain_ray.catalog.published import PilotJudge
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.judge_study import JudgeStudy, Rater
from safechain_ray.report.escape import printable
from safechain_ray.report.labels import percent

COLUMNS = ("Judge", "Rows", "Accuracy", "F1", "PCC", "Kappa", "TP FP, FN TN")

Write = Callable[[float], str]

LEGEND = (
    "Unsafe is positive. Accuracy and F1 in percent; PCC is Pearson's r of verdicts and labels; with 95% intervals. "
    "Rows without a verdict are left out of a judge's figures."
)


def render_study(study: JudgeStudy, console: Console) -> None:
    """Prints the table; names from files and judges as inert text."""
    for caveat in study.caveats:
        console.print(Text(caveat, style="bold yellow"))
    table = Table(
        title=Text(headline(study), style="bold"),
        title_justify="left",
        caption=Text(_legend(study)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column(COLUMNS[0], overflow="fold")
    for column in COLUMNS[1:]:
        table.add_column(column.replace(", ", "\n"), justify="right", no_wrap=True)
    for rater in study.raters:
        table.add_row(*map(Text, _cells(rater, "\n")))
    table.add_section()
    for name, judge in study.published.judges.items():
        table.add_row(*map(Text, _published_cells(name, judge, study)))
    console.print(table)


def markdown(study: JudgeStudy) -> str:
    """The same as a document in Markdown."""
    caveats = [f"**{caveat}**\n" for caveat in study.caveats]
    head = [f"# {_inert(headline(study))}\n", *caveats, _line(COLUMNS), _line(["---", *["---:"] * (len(COLUMNS) - 1)])]
    rows = [_line(map(_inert, _cells(rater, "; "))) for rater in study.raters]
    pilot = [_line(map(_inert, _published_cells(name, judge, study))) for name, judge in study.published.judges.items()]
    return "\n".join([*head, *rows, *pilot, "", _legend(study), ""])


def headline(study: JudgeStudy) -> str:
    share = percent(study.unsafe / study.rows)
    return f"Judges against labels: {printable(study.data)}, {study.rows:,} rows, {share}% of them unsafe"


def _legend(study: JudgeStudy) -> str:
    here = [
        f"{name} is {judge.judge} here" for name, judge in study.published.judges.items() if _is_rated(judge, study)
    ]
    same = f"; {', '.join(here)}" if here else ""
    return f"{LEGEND} * Published: {study.published_by}, over {study.published.kept} other responses{same}."


def _is_rated(judge: PilotJudge, study: JudgeStudy) -> bool:
    return any(rater.name == judge.judge for rater in study.raters)


def _cells(rater: Rater, between: str) -> Iterator[str]:
    """The cells of one line of the table; `between` stands between what belongs together."""
    found = rater.agreement
    yield printable(rater.name)
    yield f"{found.n:,}" if not found.missing else f"{found.n:,} of{between}{found.n + found.missing:,}"
    for estimate in (found.accuracy, found.f1):
        yield between.join(_words(estimate, percent, percent))
    for estimate in (found.pearson_r, found.kappa):
        yield between.join(_words(estimate, "{:.3f}".format, "{:.2f}".format))
    cells = found.confusion
    yield (f"{cells.true_positive:,} {cells.false_positive:,}{between}{cells.false_negative:,} {cells.true_negative:,}")


def _words(estimate: Estimate, value: Write, end: Write) -> Iterator[str]:
    """A figure, and its interval where it has one: `76.2`, `73.5-78.8`."""
    yield "none" if estimate.value is None else value(estimate.value)
    if estimate.low is not None and estimate.high is not None:
        yield f"{end(estimate.low)}-{end(estimate.high)}"


def _published_cells(name: str, judge: PilotJudge, study: JudgeStudy) -> Iterator[str]:
    yield f"{name} *"
    yield f"{study.published.kept}"
    yield percent(judge.accuracy)
    yield percent(judge.f1)
    yield f"{judge.pearson_r:.3f}"
    yield ""
    yield ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _inert(text: str) -> str:
    """Without what Markdown or HTML would read as a mark."""
    marks = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"})
    return text.translate(marks)
