"""The shared judges of a sweep while it works: which of their workers have no place, and for how long."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from safechain_ray.cluster.planner import ClusterView, PoolNeeds, fits
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.shared_judges import SharedJudge
from safechain_ray.runs.progress import PoolNotes, Speaker

PATIENCE_SECONDS = 120.0
"""So long a judge waits for a place before a model gives up one of its own: a node may be on its way."""

ANSWER_SECONDS = 10.0

LOADING_SECONDS = 60.0
"""An engine that has read nothing for so long is not loading any more."""


class JudgesAtWork:
    """`shared` are the judges; `tally` is where their workers report."""

    def __init__(self, shared: tuple[SharedJudge, ...], tally: Any, speaker: Speaker) -> None:
        self.shared = shared
        self._tally = tally
        self._notes = PoolNotes(speaker)
        self._progress: Mapping[str, PoolProgress] = {}
        self._cramped_since: float | None = None
        self._loaded_at = -math.inf

    def is_loading(self) -> bool:
        """Whether engines of the judges have loaded something lately: the runs wait for them."""
        return time.monotonic() - self._loaded_at < LOADING_SECONDS

    def to_come(self) -> list[PoolNeeds]:
        """The workers without a place on the cluster, one item each; while the tally is silent those of before."""
        if not self.shared:
            return []
        with suppress(GetTimeoutError):
            self._see(ray.get(self._tally.progress.remote(), timeout=ANSWER_SECONDS))
        none_yet = PoolProgress()
        return [
            needs for judge in self.shared for needs in judge.to_come(self._progress.get(judge.entry.name, none_yet))
        ]

    def _see(self, progress: Mapping[str, PoolProgress]) -> None:
        if _loaded(progress) > _loaded(self._progress):
            self._loaded_at = time.monotonic()
        self._progress = progress
        self._notes.show(progress)

    def want_room(self, to_come: list[PoolNeeds], free: ClusterView) -> bool:
        """Whether some have waited in vain for as long as they may; the time counts anew then."""
        now = time.monotonic()
        if not to_come or fits(to_come, free.grown):
            self._cramped_since = None
            return False
        if self._cramped_since is None:
            self._cramped_since = now
        if now - self._cramped_since < PATIENCE_SECONDS:
            return False
        self._cramped_since = now
        return True


def _loaded(progress: Mapping[str, PoolProgress]) -> int:
    return sum(pool.loaded_megabytes for pool in progress.values())
