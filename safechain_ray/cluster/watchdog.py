"""Turns "nothing moves" into an error that names the pool and says why."""

from collections.abc import Callable, Mapping

from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.errors import StallError


class Watchdog:
    """Raises StallError when no counter of any pool, nor of the commits, has moved for `timeout` seconds.

    Each of `rows` passes through the pools one after the other. Time in which the stream is `excused` (its store does
    not answer) does not count.
    """

    def __init__(
        self,
        pools: tuple[str, ...],
        rows: int,
        timeout: float,
        clock: Callable[[], float],
        excused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pools = pools
        self._rows = rows
        self._timeout = timeout
        self._clock = clock
        self._excused = excused
        self._last: object = None
        self._moved = clock()

    def check(self, progress: Mapping[str, PoolProgress], committed: int) -> None:
        pools = {pool: (seen.ready, dict(seen.counts), seen.loaded_megabytes) for pool, seen in progress.items()}
        state = pools, committed
        if state != self._last or self._excused():
            self._last = state
            self._moved = self._clock()
            return
        idle = self._clock() - self._moved
        if idle >= self._timeout:
            raise StallError(
                f"No progress for {idle / 60:.1f} minutes. {stuck_pool(self._pools, self._rows, progress)} "
                "What is done is kept; the same command continues. A longer --stall-timeout waits longer."
            )


def stuck_pool(pools: tuple[str, ...], rows: int, progress: Mapping[str, PoolProgress]) -> str:
    """The first pool that holds rows, lost its engines or never came up, and what that looks like."""
    for pool in pools:
        seen = progress.get(pool, PoolProgress())
        waiting = seen.counts["rows_in"] - seen.counts["rows_out"]
        if not seen.ready and not seen.counts["rows_in"]:
            return (
                f"The pool {pool!r} has no engine that is ready: its actors wait for resources, or their engine is "
                "still loading (see `ray status` and the engine's log)."
            )
        if not seen.ready and seen.counts["rows_out"] < rows:
            return (
                f"The pool {pool!r} lost its engines after {seen.counts['rows_out']} of {rows} rows: they start again "
                "when a node has room for them (see `ray status`), or are still loading."
            )
        if waiting:
            return f"The pool {pool!r} holds {waiting} rows that its engines do not finish."
    return (
        "Every pool is idle: the stream itself is stuck (storage that does not answer, or no free CPU for its tasks)."
    )
