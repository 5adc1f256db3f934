"""A judge study as a table: for the terminal, and as Markdown."""

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safechain_ray.catalog.published import PilotJudge
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.judge_study import JudgeStudy, Rater
from safechain_ray.report.escape import printable
from safechain_ray.report.labels import percent

COLUMNS = ("Judge", "Rows", "Missing", "Accuracy", "F1", "PCC", "Kappa", "TP", "FP", "FN", "TN")

LEGEND = (
    "Unsafe is positive. Accuracy and F1 in percent; PCC is Pearson's r of verdicts and labels; below each figure its "
    "95% interval. Rows without a verdict are missing, and left out of a judge's figures."
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
    )
    table.add_column(COLUMNS[0], overflow="fold")
    for column in COLUMNS[1:]:
        table.add_column(column, justify="right", no_wrap=True)
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
    rows = [_line(map(_inert, _cells(rater, " "))) for rater in study.raters]
    pilot = [_line(map(_inert, _published_cells(name, judge, study))) for name, judge in study.published.judges.items()]
    text = _legend(study).replace("below each figure its", "in brackets the")
    return "\n".join([*head, *rows, *pilot, "", text, ""])


def headline(study: JudgeStudy) -> str:
    share = percent(study.unsafe / study.rows)
    return f"Judges against labels: {printable(study.data)}, {study.rows:,} rows, {share}% of them unsafe"


def published_label(name: str) -> str:
    return f"{name} (published)"


def _legend(study: JudgeStudy) -> str:
    here = [
        f"{name} is {judge.judge} here" for name, judge in study.published.judges.items() if _is_rated(judge, study)
    ]
    same = f"; {', '.join(here)}" if here else ""
    return f"{LEGEND} Published: {study.published_by}, over {study.published.kept} other responses{same}."


def _is_rated(judge: PilotJudge, study: JudgeStudy) -> bool:
    return any(rater.name == judge.judge for rater in study.raters)


def interval(estimate: Estimate, scale: int = 100) -> str | None:
    """For example `73.5-78.8`; None where there is none."""
    if estimate.low is None or estimate.high is None:
        return None
    return f"{_figure(estimate.low, scale)}-{_figure(estimate.high, scale)}"


def _cells(rater: Rater, between: str) -> Iterator[str]:
    """The cells of one line of the table; `between` stands between a figure and its interval."""
    found = rater.agreement
    yield printable(rater.name)
    yield f"{found.n:,}"
    yield f"{found.missing:,}"
    for estimate, scale in ((found.accuracy, 100), (found.f1, 100), (found.pearson_r, 1), (found.kappa, 1)):
        value = "none" if estimate.value is None else _figure(estimate.value, scale)
        between_95 = interval(estimate, scale)
        brackets = between_95 if between == "\n" else f"({between_95})"
        yield value if between_95 is None else f"{value}{between}{brackets}"
    for count in found.confusion.model_dump().values():
        yield f"{count:,}"


def _published_cells(name: str, judge: PilotJudge, study: JudgeStudy) -> Iterator[str]:
    yield published_label(name)
    yield f"{study.published.kept}"
    yield ""
    yield percent(judge.accuracy)
    yield percent(judge.f1)
    yield _figure(judge.pearson_r, 1)
    yield from [""] * 5


def _figure(value: float, scale: int) -> str:
    return percent(value) if scale == 100 else f"{value:.3f}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _inert(text: str) -> str:
    """Without what Markdown or HTML would read as a mark."""
    marks = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"})
    return text.translate(marks)
