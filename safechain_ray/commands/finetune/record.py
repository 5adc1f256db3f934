"""finetune.json: identity, config, attempts and outcome of a training, rewritten whole at each event."""

from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from pydantic import Field, StrictStr

from safechain_ray import __version__
from safechain_ray.cluster.planner import ClusterView
from safechain_ray.cluster.training.events import Finished
from safechain_ray.commands.finetune.plan import TrainingPlan
from safechain_ray.commands.finetune.resolve import identity_hash
from safechain_ray.errors import SafechainError, StoreUnavailableError
from safechain_ray.runs.output import read_identified
from safechain_ray.runs.record import git_revision, hardware, versions
from safechain_ray.storage import Folder, redact
from safechain_ray.storage.records import Count, Identified, Moment, Stored, now

RECORD = "finetune.json"

FIX = "Fix: give another --output, or the config that the folder was made with."

TRAINING_PACKAGES = ("trl", "accelerate", "peft")


class TrainingAttempt(Stored):
    """One attempt at a training. `started_again_from` has the steps after which its workers were restarted."""

    started: Moment
    ended: Moment | None = None
    status: StrictStr
    resumed_from: Count | None = None
    started_again_from: tuple[Count, ...] = ()


class FinetuneFile(Identified):
    """The content of finetune.json. A finished training has the fields of `Finished` too."""

    config: dict[str, Any] = Field(default_factory=dict)
    training_set: dict[str, Any] = Field(default_factory=dict)
    attempts: tuple[TrainingAttempt, ...] = Field(default=(), alias="tries")
    finished: Moment | None = None
    steps: Count = 0
    loss: float = 0.0
    evaluation_loss: float | None = None
    tokens: Count = 0
    seconds: float = 0.0


class FinetuneRecord:
    """The finetune.json of one folder. Each event rewrites it whole, so that a killed driver leaves the last state."""

    def __init__(self, folder: Folder, content: FinetuneFile) -> None:
        self._folder = folder
        self.content = content

    @classmethod
    def opened(
        cls, folder: Folder, identity: dict[str, Any], config: dict[str, Any], facts: dict[str, Any]
    ) -> "FinetuneRecord":
        """The folder's record, or a new one with `facts` on the data. Raises RunConflictError for another training."""
        stored = read_identified(folder, RECORD, FinetuneFile, identity, "training", FIX)
        if stored is not None:
            return cls(folder, stored)
        made_by = {"safechain_ray": __version__, "git_revision": git_revision()}
        content = {"identity": identity, "config": config, **facts, **made_by, "tries": []}
        record = cls(folder, FinetuneFile.model_validate(content))
        record._write()
        return record

    @property
    def training(self) -> str:
        """The hash of the stored identity, which identifies the checkpoints of the training."""
        return identity_hash(self.content.identity)

    @property
    def is_finished(self) -> bool:
        return self.content.finished is not None

    def started(self, plan: TrainingPlan, view: ClusterView) -> None:
        """An attempt starts."""
        memory = [asdict(item) for item in plan.memory.items]
        attempt = {
            "started": now(),
            "ended": None,
            "status": "running",
            "resumed_from": None,
            "workers": plan.workers,
            "device": plan.device,
            "memory_plan": {"gigabytes": round(plan.memory.gigabytes, 2), "items": memory},
            "hardware": hardware(view),
            "versions": versions() | {package: version(package) for package in TRAINING_PACKAGES},
        }
        earlier = (
            each.model_copy(update={"status": "cut off"}) if each.ended is None else each
            for each in self.content.attempts
        )
        self._update(attempts=(*earlier, TrainingAttempt.model_validate(attempt)))

    def began(self, step: int) -> None:
        """The workers resume after this step; called again where they are restarted."""
        latest = self.content.attempts[-1]
        if latest.resumed_from is None:
            self._note(resumed_from=step)
        else:
            self._note(started_again_from=(*latest.started_again_from, step))
        self._write()

    def ended(self, error: BaseException | None) -> None:
        """The attempt ends. A failed attempt waits for no store to record it."""
        if error is None:
            status = "done"
        elif isinstance(error, Exception):
            status = f"failed: {error if isinstance(error, SafechainError) else repr(error)}"
        else:
            status = "interrupted"
        self._note(ended=now(), status=redact(status))
        if error is None:
            self._write()
            return
        with suppress(StoreUnavailableError):
            self._write(self._folder.without_retry())

    def finished(self, outcome: Finished) -> None:
        """Record the outcome. `seconds` are those of the latest attempt's training."""
        self._update(finished=now(), **asdict(outcome))

    def _note(self, **fields: Any) -> None:
        *earlier, latest = self.content.attempts
        self.content = self.content.model_copy(update={"attempts": (*earlier, latest.model_copy(update=fields))})

    def _update(self, **fields: Any) -> None:
        self.content = self.content.model_copy(update=fields)
        self._write()

    def _write(self, folder: Folder | None = None) -> None:
        (folder or self._folder).write_text(RECORD, self.content.to_json())
