"""A run in Weights & Biases: progress as history, figures as summary."""

import os
from collections.abc import Mapping
from typing import Literal, cast

import wandb

from safechain_ray.trackers.base import PROJECT, TrackedRun

Mode = Literal["online", "offline", "disabled", "shared"] | None


class WandbTracker:
    """A run of the project WANDB_PROJECT. Its own variables (WANDB_ENTITY, WANDB_MODE, WANDB_DIR) are respected.

    Neither the terminal's output nor facts about the machine, its command line and its code are sent: they may have
    prompts and secrets in them.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.run_id,
            name=run.name,
            mode=cast(Mode, os.environ.get("WANDB_MODE")),  # W&B itself reads its variables once in a process
            dir=os.environ.get("WANDB_DIR"),
            resume="allow",
            reinit="create_new",  # a sweep has several runs in one process
            config={**run.config, "folder": run.place},
            settings=wandb.Settings(
                silent=True, console="off", save_code=False, disable_git=True, x_disable_meta=True, x_disable_stats=True
            ),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, figures: Mapping[str, float], step: int, failed: bool) -> None:
        self._run.summary.update(dict(figures))
        self._run.finish(exit_code=int(failed))
