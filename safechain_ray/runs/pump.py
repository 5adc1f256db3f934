"""Drives a stream from a thread, while the driver's own thread watches, shows progress and can be interrupted."""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from safechain_ray.cluster.failures import explain
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.stream_control import StreamControl
from safechain_ray.cluster.watchdog import Watchdog

TICK_SECONDS = 0.5
ANSWER_SECONDS = 10.0
STOP_SECONDS = 15.0

Events = queue.Queue[Mapping[str, int] | BaseException | None]
Show = Callable[[Counter[str], Mapping[str, PoolProgress]], None]


def pump(
    blocks: Iterator[Mapping[str, int]],
    tally: Any,
    watchdog: Watchdog,
    show: Show,
    control: StreamControl,
) -> Counter[str]:
    """Run the stream to its end; gives the sum of its blocks' counts.

    Raises what the stream raises, as a SafechainError where one is at its root, and StallError from the watchdog.
    """
    events: Events = queue.Queue()

    def consume() -> None:
        try:
            for block in blocks:
                events.put(block)
            events.put(None)
        except BaseException as error:
            events.put(error)

    stream = threading.Thread(target=consume, name="stream", daemon=True)
    stream.start()
    failed = True
    try:
        counts = _watch(events, tally, watchdog, show)
        failed = False
    finally:
        # Ray must not be shut down under a living stream: its thread would start a new Ray.
        control.end_stream()
        stream.join(STOP_SECONDS)
        control.forget_actors(kill=failed)
    return counts


def _watch(events: Events, tally: Any, watchdog: Watchdog, show: Show) -> Counter[str]:
    committed: Counter[str] = Counter()
    progress: Mapping[str, PoolProgress] = {}
    while True:
        ended = _drain(events, committed)
        # A cluster in trouble may not answer: the watchdog then sees that nothing moves.
        with suppress(GetTimeoutError):
            progress = ray.get(tally.progress.remote(), timeout=ANSWER_SECONDS)
        show(committed, progress)
        if ended:
            return committed
        watchdog.check(progress, committed["rows"])


def _drain(events: Events, committed: Counter[str]) -> bool:
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
