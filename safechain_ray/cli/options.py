"""`--paper` and `--paper-dataset`: whose published figures stand beside ours.

A point in time on the command line: a time of day, a date with a time, or a span from now.

`--format`: tables for the terminal, as Markdown or as LaTeX.
"""

import re
import time
from datetime import datetime, timedelta
from typing import Any

import click
from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import Command
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.document import Document


def paper_flags(command: Command) -> Command:
    """The two flags; the command gets them as `paper` and `paper_dataset`, for `stand_ins`."""
    for flag in (
        click.option(
            "--paper-dataset",
            multiple=True,
            metavar="NAME=PUBLISHED",
            help="The data set for which one of the run stands: strongreject or wildjailbreak. Repeatable.",
        ),
        click.option(
            "--paper",
            is_flag=False,
            flag_value="",
            metavar="[MODEL]",
            help="The paper's figures beside ours: those of the same model, or of MODEL. After RUN.",
        ),
    ):
        command = flag(command)
    return command


def stand_ins(paper: str | None, paper_dataset: tuple[str, ...]) -> StandIns | None:
    """What the flags say, None without them. Raises InputError for a name that nothing was published of."""
    if paper is None and not paper_dataset:
        return None
    given: dict[str, Any] = {}
    for assignment in paper_dataset:
        name, _, published = assignment.partition("=")
        if not name or not published:
            raise InputError(
                f"--paper-dataset {assignment}: write NAME=PUBLISHED, for example quickstart=strongreject."
            )
        given[name] = published
    found = StandIns(model=paper or None, datasets=given)
    found.check(published_figures())
    return found


SPAN = re.compile(r"\+(?:(\d+)h)?(?:(\d+)m)?")


class Deadline(click.ParamType[float]):
    """Gives seconds since the epoch. A time of day is the next one, here: at 22:00, 07:00 is tomorrow's.

    Here is where the driver is: a job's is on the cluster, whose clock mostly shows UTC.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            found = when(value, datetime.now().astimezone())
        except ValueError:
            self.fail(f"{value!r} is no time: write 07:00, 2026-12-31T07:00+01:00 or +8h30m.", param, ctx)
        if found <= time.time():
            self.fail(f"{value} has passed.", param, ctx)
        return found


def when(text: str, now: datetime) -> float:
    """The seconds since the epoch that `text` means at `now`. Raises ValueError for what is no time."""
    span = SPAN.fullmatch(text)
    if span and any(span.groups()):
        hours, minutes = (int(number or 0) for number in span.groups())
        try:
            return (now + timedelta(hours=hours, minutes=minutes)).timestamp()
        except OverflowError as error:
            raise ValueError("the time is after the year 9999") from error
    if re.fullmatch(r"\d{1,2}:\d{2}", text):
        hour, minute = map(int, text.split(":"))
        today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return (today if today > now else today + timedelta(days=1)).timestamp()
    return datetime.fromisoformat(text).timestamp()


DEADLINE = Deadline()


SHAPES = ("table", "markdown", "latex")


def format_flag(command: Command) -> Command:
    """The command gets it as `shape`, for `show`."""
    flag = click.option(
        "--format",
        "shape",
        type=click.Choice(SHAPES),
        default="table",
        show_default=True,
        help="How tables are written.",
    )
    return flag(command)


def show(document: Document, shape: str) -> None:
    """Print the document on stdout; Markdown and LaTeX unwrapped, to be put into a file."""
    from safechain_ray.report.renderers import latex, markdown, print_document

    match shape:
        case "markdown":
            click.echo(markdown(document), nl=False)
        case "latex":
            click.echo(latex(document), nl=False)
        case _:
            print_document(document, Console())
