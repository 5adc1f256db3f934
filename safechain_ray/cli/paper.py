"""`--paper` and `--paper-dataset`: whose published figures stand beside ours."""

from typing import Any

import click

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import Command
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import StandIns


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
