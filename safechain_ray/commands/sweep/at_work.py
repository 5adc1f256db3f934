"""A run of a sweep at work: what its thread was started with, and how the packing sees it."""

import time
from dataclasses import dataclass, field

from safechain_ray.cluster.planner import Plan
from safechain_ray.cluster.scheduler_policy import RunningRun
from safechain_ray.cluster.stream_control import StreamControl
from safechain_ray.commands.evaluate import OpenRun
from safechain_ray.commands.sweep.sharing import work
from safechain_ray.runs.progress import Named


@dataclass
class AtWork:
    """A run in its thread. `replicas` are those that its model may have now; `until` is when its turn ends.

    `stood` is when its model was last seen to have a place, or when the run started.
    """

    opened: OpenRun
    plan: Plan
    replicas: int
    until: float
    observer: Named
    control: StreamControl = field(default_factory=StreamControl)
    stood: float = field(default_factory=time.monotonic)

    @property
    def gpus(self) -> float:
        """Of each replica of its model."""
        return self.plan.stages[0][0].needs.gpus

    @property
    def holds_gpus(self) -> bool:
        return bool(self.gpus and self.wanted)

    @property
    def left(self) -> int:
        snapshot = self.observer.last
        return self.opened.left - (snapshot.committed.get("rows", 0) if snapshot else 0)

    @property
    def wanted(self) -> int:
        """The replicas of its model that it has or waits for: none in place of those that its last rows leave."""
        last = self.control.last_replicas
        return self.replicas if last is None else min(last, self.replicas)

    def seen(self, name: str) -> RunningRun:
        """The run as the packing sees it."""
        snapshot = self.observer.last
        standing = {pool: progress.standing for pool, progress in snapshot.pools.items()} if snapshot else {}
        if standing.get(self.plan.stages[0][0].needs.pool):
            self.stood = time.monotonic()
        return RunningRun(
            name,
            self.plan,
            self.wanted,
            standing,
            work(self.opened, self.left),
            last_rows=self.control.last_replicas is not None,
            without_place=time.monotonic() - self.stood,
        )
