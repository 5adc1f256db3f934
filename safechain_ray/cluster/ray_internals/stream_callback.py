"""Callbacks from Ray Data's scheduling loop, and the poll of a stream's control at every step of the loop.

Ray Data creates callbacks from classes, without arguments. A callback finds the control of its stream by a key in the
DataContext of the stream's data set, so that streams side by side in one driver are controlled apart.
"""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakValueDictionary

from ray.data import Dataset

from safechain_ray.cluster.ray_internals.actor_pools import READ_POOLS, ActorPool, pools_of
from safechain_ray.cluster.ray_internals.hooks import Hook, Needs

try:
    from ray.data._internal.execution.execution_callback import ExecutionCallback
except ImportError:  # the hooks are off then
    ExecutionCallback = object

CALLBACKS: Needs = (
    ("ray.data.context", "DataContext.custom_execution_callback_classes"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.before_execution_starts"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.on_execution_step"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.after_execution_succeeds"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.after_execution_fails"),
)
"""Public ways looked for: `DataContext.custom_execution_callback_classes` is public; the base class of its members and
what they are called with are not. `Dataset.iter_batches` returns between committed blocks only, minutes apart."""

STREAM_CONTROL = Hook(
    "stream control",
    "a run that is stopped ends at its next committed block, and engines of a failed run keep their GPUs until its "
    "command ends",
    (*CALLBACKS, *READ_POOLS),
)

CONTROL_KEY = "safechain_control"

_controls: "WeakValueDictionary[str, Control]" = WeakValueDictionary()


class Control(Protocol):
    """What is polled by the thread that runs a stream. An error that `poll` raises ends the stream."""

    def poll(self, pools: Sequence[ActorPool]) -> None: ...


class StreamCallback(ExecutionCallback):  # type: ignore[misc]
    """Base class of callbacks: Ray Data's own, whose methods do nothing, where the installed Ray has it."""


class PollControl(StreamCallback):
    """Polls the control of its stream at every step."""

    def on_execution_step(self, executor: Any) -> None:
        control = _controls.get(executor._data_context.get_config(CONTROL_KEY, ""))
        if control is not None:
            control.poll(pools_of(executor))


def attach(stream: Dataset, control: Control) -> bool:
    """Have `control` polled while `stream` runs; the caller keeps it alive. False where the hook is off."""
    if not STREAM_CONTROL.is_on():
        return False
    key = uuid4().hex
    _controls[key] = control
    stream.context.set_config(CONTROL_KEY, key)
    stream.context.custom_execution_callback_classes.append(PollControl)
    return True
