"""Stops a running stream from another thread: Ray Data has no call for that, but asks its callbacks at every step."""

import threading

from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback

_stop = threading.Event()


class StreamStoppedError(Exception):
    """Raised inside the stream that was stopped."""


class StopSwitch(ExecutionCallback):  # type: ignore[misc]
    """Ends the stream at its next step once the switch is thrown."""

    def on_execution_step(self, executor: object) -> None:
        if _stop.is_set():
            raise StreamStoppedError


def arm_stop_switch() -> None:
    """Let streams that start from now on be stopped."""
    _stop.clear()
    classes = DataContext.get_current().custom_execution_callback_classes
    if StopSwitch not in classes:
        classes.append(StopSwitch)


def stop_streams() -> None:
    """Throw the switch. The stream's actors are ended by its own thread, which must be given a moment to do it."""
    _stop.set()
