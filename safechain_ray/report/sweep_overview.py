"""The first thing that a sweep's page shows: which models failed and why, how long all took, and what it cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.report.document import Row, Table, cell, figure_columns, text_column
from safechain_ray.report.labels import clock, count_cell
from safechain_ray.report.leaderboard import NOT_DONE, status_label
from safechain_ray.runs.run_file import RunFile

LEGEND = (
    "Time: all attempts of the model's run together, loading included. GPU-hours: the GPUs of its own plan over this "
    "time, without judges that models share. Judges added later count in neither. Cost: what providers were paid; the "
    "price of GPUs is not known here."
)


@dataclass(frozen=True, slots=True)
class Effort:
    """Time and cost of one run, over all its attempts. `dollars` is None where no provider was paid."""

    started: datetime
    ended: datetime
    seconds: float
    gpu_hours: float
    dollars: float | None


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure of the whole sweep in large type, and what it counts."""

    figure: str
    words: str
    is_warning: bool = False


def effort(run: RunFile) -> Effort | None:
    """None of a run without an attempt of its own. Those of `judge`, perhaps weeks later, are not the sweep's."""
    attempts = run.own_attempts
    if not attempts:
        return None
    seconds = [(attempt.last_moment - attempt.started).total_seconds() for attempt in attempts]
    return Effort(
        started=attempts[0].started,
        ended=max(attempt.last_moment for attempt in attempts),
        seconds=sum(seconds),
        gpu_hours=sum(attempt.gpus * each / 3600 for attempt, each in zip(attempts, seconds, strict=True)),
        dollars=run.cost_dollars,
    )


def headlines(models: Sequence[SweptModel], efforts: Mapping[str, Effort]) -> Iterator[Headline]:
    """Models that are done and that are not, the time from the first start to the last end, GPU-hours and cost."""
    done = sum(model.status == "done" for model in models)
    failed = sum(model.status == "failed" for model in models)
    waiting = len(models) - done - failed
    yield Headline(f"{done}", f"of {len(models)} models done")
    if failed:
        yield Headline(f"{failed}", "failed", is_warning=True)
    if waiting:
        yield Headline(f"{waiting}", "not done yet", is_warning=True)
    if not efforts:
        return
    started = min(each.started for each in efforts.values())
    ended = max(each.ended for each in efforts.values())
    yield Headline(
        clock((ended - started).total_seconds()), f"from {started:%Y-%m-%d %H:%M} to {ended:%m-%d %H:%M} UTC"
    )
    gpu_hours = sum(each.gpu_hours for each in efforts.values())
    if gpu_hours:
        yield Headline(f"{gpu_hours:,.1f}", "GPU-hours")
    paid = [each.dollars for each in efforts.values() if each.dollars is not None]
    if paid:
        yield Headline(f"${sum(paid):,.2f}", "paid to providers")


def reasons(models: Sequence[SweptModel]) -> Iterator[str]:
    """A sentence for each model that is not done and has an error, failed ones first."""
    for status in NOT_DONE:
        for model in models:
            if model.status == status and model.error:
                attempts = f", {model.attempts} attempt{'' if model.attempts == 1 else 's'}" if model.attempts else ""
                yield f"{model.model} ({status_label(model)}{attempts}): {model.error}"


def models_table(models: Sequence[SweptModel], efforts: Mapping[str, Effort], links: Mapping[str, str]) -> Table:
    """One row a model, failed ones first. `links` are reports by the folder of the run."""
    with_gpus = any(each.gpu_hours for each in efforts.values())
    with_cost = any(each.dollars is not None for each in efforts.values())
    columns = (
        text_column("Model"),
        text_column("Status"),
        *figure_columns("Time", *(["GPU-hours"] if with_gpus else []), *(["Cost"] if with_cost else []), "Attempts"),
    )
    rows = [
        _row(model, efforts.get(model.model), links.get(model.folder, ""), with_gpus, with_cost)
        for status in (*NOT_DONE, "done")
        for model in models
        if model.status == status
    ]
    return Table("Models of the sweep", columns, (tuple(rows),), LEGEND if efforts else "", is_sortable=True)


def _row(model: SweptModel, effort: Effort | None, link: str, with_gpus: bool, with_cost: bool) -> Row:
    is_done = model.status == "done"
    dollars = None if effort is None else effort.dollars
    return (
        cell(model.model, link=link),
        cell(status_label(model), is_warning=not is_done),
        cell("" if effort is None else clock(effort.seconds)),
        *([cell("" if effort is None else f"{effort.gpu_hours:,.1f}")] if with_gpus else []),
        *([cell("" if dollars is None else f"${dollars:,.2f}")] if with_cost else []),
        count_cell(model.attempts),
    )
