"""The status of a run or a sweep from its records alone: joins no Ray and writes nothing."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from safechain_ray.commands.sweep.record import SWEEP_FILE, SweepFile, SweptModel, read_sweep_file
from safechain_ray.errors import SafechainError
from safechain_ray.runs.folder import no_run
from safechain_ray.runs.run_file import RUN_FILE, Kind, ProgressRecord, RunFile, StoredAttempt, read_run_file
from safechain_ray.storage import Folder, open_folder, redact

State = Literal["queued", "starting", "running", "silent", "stopped", "skipped", "failed", "done"]
"""`starting`: no row yet in this attempt. `silent`: its driver has written nothing for too long. `stopped`: interrupted
on purpose, or time was up. `skipped`: the sweep's latest command left it out before it was done."""

SILENT_AFTER = timedelta(minutes=2)
"""A running driver writes every 5 to 15 seconds."""

SILENT_AFTER_BETWEEN = timedelta(minutes=15)
"""Before the first stage, between two stages and at the end the driver reads the whole folder, and writes nothing."""

SENTENCE_CHARACTERS = 240

READERS = 16
"""Models read at the same time: an object store answers slowly, but many requests at once."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run, or one model of a sweep.

    `rows` of `total` are finished, in the running stage if there are several. `counts` are those of `cluster.commit`,
    over all finished rows. `last_heartbeat` is the time of the driver's latest write. `last_error` may be that of an
    earlier attempt. A fact that is not in the records is None, or absent from `counts`.
    """

    name: str
    state: State
    kind: Kind = "run"
    phase: str = ""
    last_heartbeat: datetime | None = None
    rows: int | None = None
    total: int | None = None
    tokens_per_second: float | None = None
    seconds_to_go: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    cost_dollars: float | None = None
    attempts: int = 0
    last_error: str | None = None
    judges_added: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether the run stays as it is unless a command starts it again."""
        return self.state in ("done", "failed", "stopped", "skipped")


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """The content of a folder at the time `read`: the models of a sweep in its order, or one run."""

    folder: str
    kind: Kind | Literal["sweep"]
    read: datetime
    models: tuple[RunStatus, ...]

    @property
    def is_over(self) -> bool:
        return all(model.is_over for model in self.models)


def read_status(uri: str) -> FolderStatus:
    """The status of the run or sweep in the folder `uri`.

    Raises InputError where there is neither, and StorageError where the folder can't be read.
    """
    folder = open_folder(uri)
    now = datetime.now(UTC)
    if folder.exists(SWEEP_FILE):
        return FolderStatus(str(folder), "sweep", now, _models(folder, read_sweep_file(folder), now))
    if not folder.exists(RUN_FILE):
        raise no_run(folder)
    status = run_status(read_run_file(folder), now)
    return FolderStatus(str(folder), status.kind, now, (status,))


def _models(folder: Folder, sweep: SweepFile, now: datetime) -> tuple[RunStatus, ...]:
    def status(model: SweptModel) -> RunStatus:
        run = folder / model.folder
        try:
            own = run_status(read_run_file(run), now) if run.exists(RUN_FILE) else None
        except SafechainError as error:
            # One damaged folder must not hide the other models.
            return swept_status(model.model_copy(update={"error": str(error)}), None)
        return swept_status(model, own, sweep.ended is not None)

    with ThreadPoolExecutor(READERS) as readers:
        return tuple(readers.map(status, sweep.models))


def run_status(run: RunFile, now: datetime) -> RunStatus:
    """The status of a run by itself, from its run.json."""
    last = run.attempts[-1] if run.attempts else None
    progress = None if last is None else last.progress
    last_heartbeat = run.updated
    if last_heartbeat is None and last is not None:
        last_heartbeat = last.ended or last.started
    state, phase = _state(run, last)
    if state in ("starting", "running") and last_heartbeat and now - last_heartbeat > _patience(phase, progress):
        state = "silent"
    running = state in ("starting", "running")
    judging = running and last is not None and last.command is not None
    total = progress.total if judging and progress is not None else run.total_rows
    return RunStatus(
        name=run.subject,
        kind=run.kind,
        state=state,
        phase=phase,
        last_heartbeat=last_heartbeat,
        rows=_rows(state, total, last),
        total=total,
        tokens_per_second=progress.tokens_per_second if running and progress else None,
        seconds_to_go=progress.seconds_left if running and progress else None,
        counts=_counts(run.attempts if judging else run.own_attempts, run, state),
        cost_dollars=run.cost_dollars,
        attempts=len(run.own_attempts),
        last_error=next((error for each in reversed(run.attempts) if (error := _error_of(each))), None),
        judges_added=tuple(run.added),
    )


def swept_status(swept: SweptModel, own: RunStatus | None, ended: bool = False) -> RunStatus:
    """The status of one model of a sweep, from sweep.json and from `own`, the status by its run.json.

    `ended`: the sweep's latest command has ended, so that queued models wait for another command. A running run is
    what its run.json says. Of all others the sweep knows more: it writes no run.json for a run that waits or that
    failed before it started.
    """
    status = own or RunStatus(swept.model, "queued")
    state: State = status.state
    # Without an attempt the run.json was only opened.
    running = status.attempts > 0 and state in ("starting", "running")
    if swept.status == "queued" and not running:
        state = "skipped" if swept.left_out else "stopped" if ended else "queued"
    elif swept.status in ("failed", "done") and not running:
        state = swept.status
    elif swept.status == "running" and own is None:
        state = "starting"
    return replace(
        status,
        name=swept.model,
        state=state,
        phase=status.phase if state == status.state else "",
        attempts=max(status.attempts, swept.attempts),
        last_error=sentence(swept.error) if swept.error else status.last_error,
    )


def sentence(error: str) -> str:
    """The first line of an error, without secrets, and not too long."""
    line = next((line.strip() for line in error.splitlines() if line.strip()), "")
    line = redact(line)
    return line if len(line) <= SENTENCE_CHARACTERS else f"{line[: SENTENCE_CHARACTERS - 3]}..."


def _state(run: RunFile, last: StoredAttempt | None) -> tuple[State, str]:
    """The state by the records alone, of any age, and the phase of a running run."""
    if last is not None and last.status == "running":
        return _running_state(last)
    if _is_finished(run, last):
        return "done", ""
    if last is None or not last.status:
        return "starting", ""
    if last.status == "done":
        return "running", "measuring"
    return ("failed" if last.status.startswith("failed") else "stopped"), ""


def _running_state(last: StoredAttempt) -> tuple[State, str]:
    progress = last.progress
    if progress is None or (progress.committed == 0 and progress.stage == 1):
        return "starting", ""
    if last.command is not None:
        return "running", f"judging: {', '.join(progress.pools) or 'rules'}"
    stage = f"stage {progress.stage} of {progress.stages}: {', '.join(progress.pools)}"
    return "running", stage if progress.stages > 1 else ""


def _is_finished(run: RunFile, last: StoredAttempt | None) -> bool:
    """Whether the run was finished after its latest attempt.

    By the number of attempts: after a clock was set back, the times are in the wrong order. Earlier versions noted only
    the times.
    """
    if run.finished is None:
        return False
    if run.finished_attempts is not None:
        return run.finished_attempts == len(run.own_attempts)
    return last is None or run.finished >= last.started


def _patience(phase: str, progress: ProgressRecord | None) -> timedelta:
    between = progress is None or progress.done >= progress.total or phase == "measuring"
    return SILENT_AFTER_BETWEEN if between else SILENT_AFTER


def _rows(state: State, total: int | None, last: StoredAttempt | None) -> int | None:
    if state == "done":
        return total
    if last is None:
        return 0
    return last.rows_found if last.progress is None else last.progress.done


def _counts(attempts: Sequence[StoredAttempt], run: RunFile, state: State) -> Mapping[str, int]:
    """Those of the latest attempt that noted any; for a finished run also its outcomes as they were measured."""
    noted = next((each.progress.counts for each in reversed(attempts) if each.progress is not None), {})
    return {**noted, **(run.outcomes if state == "done" else {})}


def _error_of(attempt: StoredAttempt) -> str | None:
    failed = attempt.status.startswith("failed")
    return sentence(attempt.status.removeprefix("failed: ")) if failed else None
