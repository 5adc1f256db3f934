"""Drives a stream from a thread, while the driver's own thread watches, shows progress and can be interrupted."""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray

from safechain_ray.cluster.failures import explain
from safechain_ray.cluster.tally import PoolProgress
from safechain_ray.cluster.watchdog import Watchdog

TICK_SECONDS = 0.5


def pump(
    blocks: Iterator[Mapping[str, int]],
    tally: Any,
    watchdog: Watchdog,
    show: Callable[[Counter[str], Mapping[str, PoolProgress]], None],
) -> Counter[str]:
    """Run the stream to its end; gives the sum of its blocks' counts.

    Raises what the stream raises, as a SafechainError where one is at its root, and StallError from the watchdog.
    """
    events: queue.Queue[Mapping[str, int] | BaseException | None] = queue.Queue()

    def consume() -> None:
        try:
            for block in blocks:
                events.put(block)
            events.put(None)
        except BaseException as error:
            events.put(error)

    threading.Thread(target=consume, name="stream", daemon=True).start()
    committed: Counter[str] = Counter()
    while True:
        ended = _drain(events, committed)
        progress = ray.get(tally.progress.remote())
        show(committed, progress)
        if ended:
            return committed
        watchdog.check(progress, committed["rows"])


def _drain(events: "queue.Queue[Mapping[str, int] | BaseException | None]", committed: Counter[str]) -> bool:
    """Add up what has come within a tick; True at the stream's end."""
    deadline = time.monotonic() + TICK_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            event = events.get(timeout=left)
        except queue.Empty:
            return False
        if event is None:
            return True
        if isinstance(event, BaseException):
            raise explain(event)
        committed.update(event)
    return False
