"""finetune.json: what is needed to do a training again, and what became of each try at it."""

import json
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from safechain_ray import __version__
from safechain_ray.cluster.planner import ClusterView
from safechain_ray.cluster.training.events import Finished
from safechain_ray.commands.finetune.plan import TrainingPlan
from safechain_ray.commands.finetune.resolve import identity_hash
from safechain_ray.errors import SafechainError, StoreUnavailableError
from safechain_ray.runs.output import stored_record
from safechain_ray.runs.record import git_revision, hardware, versions
from safechain_ray.storage import Folder, redact

RECORD = "finetune.json"

MEND = "Give another --output, or the config that the folder was made with."

TRAINING_PACKAGES = ("trl", "accelerate", "peft")


class FinetuneRecord:
    """The record of one folder; written anew, whole, at each event, so that a killed driver leaves the last one."""

    def __init__(self, folder: Folder, content: dict[str, Any]) -> None:
        self._folder = folder
        self.content = content

    @classmethod
    def opened(
        cls, folder: Folder, identity: dict[str, Any], config: dict[str, Any], facts: dict[str, Any]
    ) -> "FinetuneRecord":
        """The folder's record, or a new one with `facts` on the data. Raises RunConflictError for another training."""
        stored = stored_record(folder, RECORD, identity, "training", MEND)
        if stored is not None:
            return cls(folder, stored)
        made_by = {"safechain_ray": __version__, "git_revision": git_revision()}
        record = cls(folder, {"identity": identity, "config": config, **facts, **made_by, "tries": []})
        record._write()
        return record

    @property
    def training(self) -> str:
        """The hash of the identity, as the folder has it, by which its checkpoints are known."""
        return identity_hash(self.content["identity"])

    @property
    def is_finished(self) -> bool:
        return "finished" in self.content

    def started(self, plan: TrainingPlan, view: ClusterView) -> None:
        """A try begins."""
        for earlier in self.content["tries"]:
            if earlier["ended"] is None:
                earlier["status"] = "cut off"
        memory = [asdict(item) for item in plan.memory.items]
        self.content["tries"].append(
            {
                "started": _now(),
                "ended": None,
                "status": "running",
                "resumed_from": None,
                "workers": plan.workers,
                "device": plan.device,
                "memory_plan": {"gigabytes": round(plan.memory.gigabytes, 2), "items": memory},
                "hardware": hardware(view),
                "versions": versions() | {package: version(package) for package in TRAINING_PACKAGES},
            }
        )
        self._write()

    def began(self, step: int) -> None:
        """The workers of the try go on after this step; once more where they started again."""
        current = self.content["tries"][-1]
        if current["resumed_from"] is None:
            current["resumed_from"] = step
        else:
            current.setdefault("started_again_from", []).append(step)
        self._write()

    def ended(self, error: BaseException | None) -> None:
        """The try ends; one that failed waits for no store to note it."""
        if error is None:
            status = "done"
        elif isinstance(error, Exception):
            status = f"failed: {error if isinstance(error, SafechainError) else repr(error)}"
        else:
            status = "interrupted"
        self.content["tries"][-1] |= {"ended": _now(), "status": redact(status)}
        if error is None:
            self._write()
            return
        with suppress(StoreUnavailableError):
            self._write(self._folder.without_retry())

    def finished(self, outcome: Finished) -> None:
        """All is done: what it came to. `seconds` are those of the last try's training."""
        self.content |= {"finished": _now(), **asdict(outcome)}
        self._write()

    def _write(self, folder: Folder | None = None) -> None:
        (folder or self._folder).write_text(RECORD, json.dumps(self.content, indent=2) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
