"""How far a run is, from its run.json and its line of sweep.json alone: records in, one status out.

Reads how far a run or a sweep is from its folder, wherever that is: joins no Ray and writes nothing.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from pydantic import BaseModel, ValidationError, model_validator

from safechain_ray.commands.sweep.record import SWEEP_FILE, SWEEP_FIX
from safechain_ray.errors import InputError, SafechainError
from safechain_ray.runs.folder import Kind, kind_of, own_attempts, rows_of, subject_of
from safechain_ray.runs.stored_run import RUN_FILE, Count, ProgressRecord, read_stored_run
from safechain_ray.storage import Folder, InsideName, checked_name, open_folder, read_checked_tree, redact

State = Literal["queued", "starting", "running", "silent", "stopped", "skipped", "failed", "done"]

"""`starting`: no row yet in this try. `silent`: said to run, but long unheard of. `stopped`: interrupted on purpose, or
time was up. `skipped`: the sweep's latest command left it out before it was done."""

SILENT_AFTER = timedelta(minutes=2)

"""A driver at work writes every 5 to 15 seconds."""

SILENT_AFTER_BETWEEN = timedelta(minutes=15)

"""Before the first stage, between two and at the end it reads the whole folder, and writes nothing meanwhile."""

SENTENCE_CHARACTERS = 240


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run, or one model of a sweep.

    `rows` of `total` are finished, in the stage at work where there are several; `counts` are those of
    `cluster.commit`, over all finished rows. `heard` is when its driver last wrote. `last_error` may be an earlier
    try's. Whatever the records do not tell is None, or absent from `counts`.
    """

    name: str
    state: State
    kind: Kind = "run"
    phase: str = ""
    heard: datetime | None = None
    rows: int | None = None
    total: int | None = None
    tokens_per_second: float | None = None
    seconds_to_go: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    cost_dollars: float | None = None
    tries: int = 0
    last_error: str | None = None
    judges_added: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it unless somebody starts it again."""
        return self.state in ("done", "failed", "stopped", "skipped")


def run_status(run: Mapping[str, Any], now: datetime) -> RunStatus:
    """The status of a run by itself, from the content of its run.json."""
    tries = run.get("tries", [])
    own = own_attempts(run)
    last = tries[-1] if tries else {}
    progress_record = _progress_record(last)
    heard = _time(run.get("updated")) or _time(last.get("ended")) or _time(last.get("started"))
    state, phase = _state(run, last, progress_record)
    if state in ("starting", "running") and heard is not None and now - heard > _patience(phase, progress_record):
        state = "silent"
    at_work = state in ("starting", "running")
    judging = at_work and last.get("command") is not None
    total = progress_record.total if judging and progress_record is not None else rows_of(run)
    return RunStatus(
        name=subject_of(run),
        kind=kind_of(run),
        state=state,
        phase=phase,
        heard=heard,
        rows=_rows(state, total, last, progress_record),
        total=total,
        tokens_per_second=progress_record.tokens_per_second if at_work and progress_record else None,
        seconds_to_go=progress_record.seconds_to_go if at_work and progress_record else None,
        counts=_counts(tries if judging else own, run, state),
        cost_dollars=run.get("cost_dollars"),
        tries=len(own),
        last_error=next((error for each in reversed(tries) if (error := _error_of(each))), None),
        judges_added=tuple(run.get("added", {})),
    )


def swept_status(swept: Mapping[str, Any], own: RunStatus | None, ended: bool = False) -> RunStatus:
    """The status of one model of a sweep: `swept` is its record in sweep.json, `own` what its run.json tells.

    `ended` says that the sweep's latest command has, so that nothing comes of what is queued.

    A run that is at work is what it says itself; of all others the sweep knows more, as it does not write a run.json
    for what waits, nor for what failed before it began.
    """
    name, said, error = str(swept["model"]), swept.get("status"), swept.get("error")
    told = RunStatus(name, "queued") if own is None else own
    state: State = told.state
    at_work = told.tries and state in ("starting", "running")  # without a try its run.json was only opened
    if said == "queued" and not at_work:
        state = "skipped" if swept.get("left_out") else "stopped" if ended else "queued"
    elif said in ("failed", "done") and not at_work:
        state = said
    elif said == "running" and own is None:
        state = "starting"
    return RunStatus(
        name=name,
        kind=told.kind,
        state=state,
        phase=told.phase if state == told.state else "",
        heard=told.heard,
        rows=told.rows,
        total=told.total,
        tokens_per_second=told.tokens_per_second,
        seconds_to_go=told.seconds_to_go,
        counts=told.counts,
        cost_dollars=told.cost_dollars,
        tries=max(told.tries, swept.get("tries") or 0),
        last_error=sentence(error) if error else told.last_error,
        judges_added=told.judges_added,
    )


def sentence(error: str) -> str:
    """The first line of an error, without secrets, and not too long."""
    line = next((line.strip() for line in error.splitlines() if line.strip()), "")
    line = redact(line)
    return line if len(line) <= SENTENCE_CHARACTERS else f"{line[: SENTENCE_CHARACTERS - 3]}..."


def _state(
    run: Mapping[str, Any], last: Mapping[str, Any], progress_record: ProgressRecord | None
) -> tuple[State, str]:
    """What the records say, whoever wrote them and when; and what a run at work is at."""
    status = last.get("status", "")
    if status == "running":
        if progress_record is None or (progress_record.committed == 0 and progress_record.stage == 1):
            return "starting", ""
        if last.get("command") is not None:
            return "running", f"judging: {', '.join(progress_record.pools) or 'rules'}"
        of = f"stage {progress_record.stage} of {progress_record.stages}: {', '.join(progress_record.pools)}"
        return "running", of if progress_record.stages > 1 else ""
    if _is_finished(run, last):
        return "done", ""
    if status == "done":
        return "running", "measuring"
    if status.startswith("failed"):
        return "failed", ""
    return ("stopped" if status else "starting"), ""


def _is_finished(run: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Whether the run was finished after its latest attempt.

    By the number of attempts: after a clock was set back, the times are in the wrong order. Earlier versions noted only
    the times.
    """
    finished, started = _time(run.get("finished")), _time(last.get("started"))
    noted: int | None = run.get("finished_tries")
    if finished is None or noted is not None:
        return finished is not None and noted == len(own_attempts(run))
    return started is None or finished >= started


def _patience(phase: str, progress_record: ProgressRecord | None) -> timedelta:
    between = progress_record is None or progress_record.done >= progress_record.total or phase == "measuring"
    return SILENT_AFTER_BETWEEN if between else SILENT_AFTER


def _rows(
    state: State, total: int | None, last: Mapping[str, Any], progress_record: ProgressRecord | None
) -> int | None:
    if state == "done":
        return total
    return progress_record.done if progress_record is not None else last.get("rows_found", 0)


def _counts(attempts: Sequence[Mapping[str, Any]], run: Mapping[str, Any], state: State) -> Mapping[str, int]:
    """Those of the latest attempt that noted any; of a run that is done its outcomes as they were measured."""
    noted = next(
        (progress_record.counts for each in reversed(attempts) if (progress_record := _progress_record(each))), {}
    )
    return {**noted, **(run.get("outcomes", {}) if state == "done" else {})}


def _error_of(one_try: Mapping[str, Any]) -> str | None:
    status: str = one_try.get("status", "")
    return sentence(status.removeprefix("failed: ")) if status.startswith("failed") else None


def _progress_record(one_try: Mapping[str, Any]) -> ProgressRecord | None:
    """What the driver noted; None where it has not yet, or is of a version that did otherwise."""
    try:
        return ProgressRecord.model_validate(one_try.get("live"))
    except ValidationError:
        return None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


READERS = 16

"""Models read at the same time: an object store answers slowly, but many at once."""


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """What a folder holds, as it was read at a time: the models of a sweep in its order, or one run."""

    folder: str
    kind: Kind | Literal["sweep"]
    read: datetime
    models: tuple[RunStatus, ...]

    @property
    def is_over(self) -> bool:
        return all(model.is_over for model in self.models)


class _StoredSwept(BaseModel):
    """A model in sweep.json, from which its status is derived. Earlier versions wrote fewer keys."""

    model: str
    folder: InsideName | None = None
    status: str | None = None
    error: str | None = None
    tries: Count | None = None
    left_out: bool = False

    @model_validator(mode="after")
    def _in_a_folder(self) -> Self:
        checked_name(self.folder or self.model)
        return self


class _StoredSweep(BaseModel):
    ended: str | None = None
    models: tuple[_StoredSwept, ...]


def read_status(uri: str) -> FolderStatus:
    """The status of the run or sweep in the folder `uri`.

    Raises InputError where there is neither, and StorageError where the folder can't be read.
    """
    folder = open_folder(uri)
    now = datetime.now(UTC)
    if folder.exists(SWEEP_FILE):
        swept = read_checked_tree(folder, SWEEP_FILE, _StoredSweep, "record of a sweep", SWEEP_FIX)
        return FolderStatus(str(folder), "sweep", now, _models(folder, swept, now))
    if not folder.exists(RUN_FILE):
        raise InputError(
            f"{folder} holds no run and no sweep: there is neither run.json nor sweep.json. Fix: give the folder that "
            "--output named; if it is this one, restore the file from a copy."
        )
    status = run_status(read_stored_run(folder), now)
    return FolderStatus(str(folder), status.kind, now, (status,))


def _models(folder: Folder, swept: Mapping[str, Any], now: datetime) -> tuple[RunStatus, ...]:
    models = [(each, folder / (each.get("folder") or each["model"])) for each in swept["models"]]
    ended = swept.get("ended") is not None

    def status(model: tuple[Mapping[str, Any], Folder]) -> RunStatus:
        record, place = model
        try:
            own = run_status(read_stored_run(place), now) if place.exists(RUN_FILE) else None
            return swept_status(record, own, ended)
        except SafechainError as error:
            # One damaged folder must not hide the other models.
            return swept_status({**record, "error": str(error)}, None)

    with ThreadPoolExecutor(READERS) as readers:
        return tuple(readers.map(status, models))
