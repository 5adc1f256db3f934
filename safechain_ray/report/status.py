"""The progress of a run or a sweep, as a table, as lines for logs, and as JSON."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.text import Text

from safechain_ray.commands.status import FolderStatus, RunStatus, State
from safechain_ray.report.document import Cell, Column, Table, cell, printable, text_column
from safechain_ray.report.labels import clock
from safechain_ray.report.renderers import rich_table

STYLES: dict[State, str] = {
    "queued": "dim",
    "starting": "cyan",
    "running": "cyan",
    "silent": "bold yellow",
    "stopped": "yellow",
    "skipped": "dim",
    "failed": "bold red",
    "done": "green",
}
"""Styles of rich, in the order of `summary_line`."""

COUNT_WORDS = {
    "ok": "ok",
    "truncated": "truncated",
    "blocked": "blocked",
    "error": "errors",
    "win": "wins",
    "tie": "ties",
    "lose": "losses",
    "correct": "correct",
    "wrong": "wrong",
    "unsafe": "unsafe",
    "missing": "missing verdicts",
    "ungraded": "without a grade",
}
HEADINGS = {
    "truncated": ("trun-", "cated"),
    "blocked": ("block-", "ed"),
    "error": ("er-", "rors"),
    "unsafe": ("un-", "safe"),
    "missing": ("miss-", "ing"),
    "ungraded": ("un-", "graded"),
}
"""Headings in two lines, where one line would be wider than the figures."""

COUNT_STYLES = {"unsafe": "magenta", "ok": "", "win": "", "tie": "", "lose": "", "correct": "", "wrong": ""}


JSON_KEYS = {"last_heartbeat": "heard", "attempts": "tries"}
"""Keys of the JSON that differ from the names of the fields."""


def status_summary(status: FolderStatus) -> dict[str, Any]:
    """The status as JSON; times in ISO 8601."""
    return {
        "folder": status.folder,
        "kind": status.kind,
        "read": status.read.isoformat(timespec="seconds"),
        "is_over": status.is_over,
        "models": [
            {JSON_KEYS.get(key, key): value for key, value in asdict(model).items()}
            | {"heard": model.last_heartbeat.isoformat(timespec="seconds") if model.last_heartbeat else None}
            for model in status.models
        ],
    }


def status_table(status: FolderStatus) -> Group:
    """A heading, a row a model, and a sentence for each that needs one."""
    heading = Text(f"{printable(summary_line(status))} Read at {status.read:%H:%M:%S} UTC.", style="bold")
    notes = [Text(printable(note)) for model in status.models for note in _notes(model)]
    return Group(heading, rich_table(_table(status)), *notes)


def summary_line(status: FolderStatus) -> str:
    """For example `Sweep s3://b/table: 3 done, 2 running, 1 failed; 4,120 of 13,356 rows; $1.20.`"""
    states = Counter(model.state for model in status.models)
    summary = ", ".join(f"{states[state]} {state}" for state in STYLES if states[state])
    if status.kind != "sweep":
        summary = status.models[0].state
    rows = sum(model.rows or 0 for model in status.models)
    total = sum(model.total or 0 for model in status.models)
    unknown = sum(model.total is None for model in status.models)
    more = f" and {unknown} not begun" if unknown else ""
    costs = [model.cost_dollars for model in status.models if model.cost_dollars is not None]
    spent = f"; ${sum(costs):,.2f}" if costs else ""
    return f"{status.kind.capitalize()} {status.folder}: {summary}; {rows:,} of {total:,} rows{more}{spent}."


def status_lines(status: FolderStatus) -> Iterator[str]:
    """One line a model, for logs."""
    for model in status.models:
        state = f"{model.state} ({model.phase})" if model.phase else model.state
        figures = ", ".join((state, *_figures(model)))
        yield printable(" ".join((f"{model.name}: {figures}.", *_notes(model))))


def _table(status: FolderStatus) -> Table:
    """One row a model, without empty columns: twelve models fit a screen of 80 by 24."""
    models = status.models
    counted = [name for name in COUNT_WORDS if any(_is_shown(name, model) for model in models)]
    columns: list[tuple[Column, list[Cell]]] = [
        (text_column("Model"), [cell(model.name) for model in models]),
        (text_column("State"), [_state(model) for model in models]),
        (Column(("Rows",)), [cell(_share(model)) for model in models]),
        (Column(("Tokens", "/s")), [cell(_figure(model.tokens_per_second)) for model in models]),
        (Column(("To go",)), [cell(_to_go(model)) for model in models]),
        *((_heading(name), [_count(model, name) for model in models]) for name in counted),
        (Column(("$",)), [cell(_cost(model).lstrip("$")) for model in models]),
    ]
    shown = [(column, cells) for column, cells in columns if any("".join(each.lines) for each in cells)]
    rows = zip(*(cells for _, cells in shown), strict=True)
    return Table("", tuple(column for column, _ in shown), (tuple(rows),))


def _heading(name: str) -> Column:
    return Column(HEADINGS.get(name, (COUNT_WORDS[name],)))


def _state(model: RunStatus) -> Cell:
    return cell(model.state, *([model.phase] if model.phase else []), style=STYLES[model.state])


def _share(model: RunStatus) -> str:
    if model.rows is None or not model.total:
        return ""
    return f"{model.rows:,}/{model.total:,}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _to_go(model: RunStatus) -> str:
    return "" if model.seconds_to_go is None else clock(model.seconds_to_go)


def _count(model: RunStatus, name: str) -> Cell:
    """Empty where it is not known: before the first commit, and in records of earlier versions."""
    if name not in model.counts:
        return cell("")
    count = model.counts[name]
    return cell(f"{count:,}", style=COUNT_STYLES.get(name, "yellow") if count else "")


def _is_shown(name: str, model: RunStatus) -> bool:
    """Counts above zero; zero unsafe verdicts are shown too."""
    return bool(model.counts.get(name)) or (name == "unsafe" and name in model.counts)


def _figures(model: RunStatus) -> Iterator[str]:
    """The known figures, in words."""
    if model.rows is not None and model.total:
        yield f"{_share(model)} rows ({model.rows / model.total:.0%})"
    if model.tokens_per_second is not None:
        yield f"{_figure(model.tokens_per_second)} tokens/s"
    if model.seconds_to_go is not None:
        yield f"{_to_go(model)} to go"
    for name, words in COUNT_WORDS.items():
        if _is_shown(name, model):
            yield f"{model.counts[name]:,} {words}"
    if model.cost_dollars is not None:
        yield _cost(model)


def _cost(model: RunStatus) -> str:
    return "" if model.cost_dollars is None else f"${model.cost_dollars:,.2f}"


def _notes(model: RunStatus) -> Iterator[str]:
    """What the reader has to know or to do, in whole sentences."""
    match model.state:
        case "silent":
            yield (
                f"{model.name} is recorded as running, but its driver has written nothing since "
                f"{_at(model.last_heartbeat)}: it died, or can't reach this folder. Rerun the command to resume."
            )
        case "stopped":
            yield f"{model.name} was interrupted{_when(model)}. Rerun the command to resume."
        case "failed":
            yield f"{model.name} failed{_when(model)}{_attempt(model)}: {model.last_error or 'no reason was recorded.'}"
    if model.last_error and model.state not in ("failed", "done"):
        yield f"An earlier attempt of {model.name} failed: {model.last_error}"
    if model.judges_added:
        yield f"Judges added to {model.name} later: {', '.join(model.judges_added)}."


def _when(model: RunStatus) -> str:
    return f" at {_at(model.last_heartbeat)}" if model.last_heartbeat else ""


def _attempt(model: RunStatus) -> str:
    return f" in attempt {model.attempts}" if model.attempts > 1 else ""


def _at(time: datetime | None) -> str:
    return "an unknown time" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"
