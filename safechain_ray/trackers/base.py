"""What every experiment tracker receives, and the check that its package, key and address are there."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from safechain_ray.config.parts import TrackerName
from safechain_ray.errors import InputError
from safechain_ray.storage import Folder

PROJECT = "safechain-ray"
"""The project or experiment of the runs, unless the tracker's own environment variable names one."""

PACKAGES: Mapping[TrackerName, str] = {"wandb": "wandb", "mlflow": "mlflow-skinny", "tensorboard": "tensorboard"}
"""The package of each tracker. The whole of MLflow needs an older pyarrow than this project."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run as its tracker shows it. `run_id` is the same in each attempt, so that a resumed run stays one run.

    `config` and `place` are without secrets.
    """

    run_id: str
    name: str
    place: str
    folder: Folder
    config: Mapping[str, Any]


class Tracker(Protocol):
    """One run in one tracker. The methods raise what the tracker's package raises."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send values of one moment. `step` counts finished rows."""

    def finish(self, figures: Mapping[str, float], step: int, failed: bool) -> None:
        """Send the figures of the run, and end it. A failed run has none."""


def missing_packages(names: Collection[TrackerName]) -> list[str]:
    """The packages of these trackers that are not installed here."""
    return [PACKAGES[name] for name in names if find_spec(name) is None]


def check_trackers(names: Collection[TrackerName]) -> None:
    """Check everything that can be checked without a request. Raises InputError with the fix."""
    if missing := missing_packages(names):
        raise InputError(
            f"report_to needs {' and '.join(missing)}, not installed here. Fix: pip install {' '.join(missing)}; or "
            "leave the tracker out of report_to."
        )
    if "wandb" in names and not _has_wandb_key():
        raise InputError(
            "report_to names wandb, and there is no key of W&B. Fix: run `wandb login`, set WANDB_API_KEY, or set "
            "WANDB_MODE=offline to write its files only here."
        )
    if "mlflow" in names and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise InputError(
            "report_to names mlflow, and MLFLOW_TRACKING_URI is not set. Fix: set it to the address of your MLflow "
            "server, such as http://mlflow.example:5000."
        )


def _has_wandb_key() -> bool:
    """Whether W&B can log in without asking. It asks on a terminal otherwise, and a run would wait for the answer."""
    mode = os.environ.get("WANDB_MODE")  # W&B reads its variables once in a process
    if mode in ("offline", "disabled") or os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    is_offline = mode is None and wandb.setup().settings.mode in ("offline", "disabled")
    return is_offline or bool(wandb.login(prompt=False))
