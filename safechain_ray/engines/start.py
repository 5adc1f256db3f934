"""Engine start: the specification of an engine to start, and its log file.

`captured_output` redirects the output of a process and its children to the log. `last_lines` quotes the log's end in
error messages.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.types import Engine

Device = Literal["cpu", "cuda"]

RUNNING = 256
"""Default concurrency: the requests that an engine decodes at once."""


@dataclass(frozen=True, slots=True)
class EngineStart:
    """One engine to start. `kv_cache_gigabytes` bounds the KV cache on CPUs; on GPUs it gets the remaining memory.

    `memory_share` is the engine's share of a GPU that several engines use; None for a GPU of its own. The text of a
    `batch_invariant` engine on GPUs does not depend on concurrent requests. `on_tokens` receives the number of new
    tokens, `on_counts` other counts, `on_note` sentences for the driver's screen.
    """

    needs: EngineNeeds
    device: Device
    log_file: Path
    kv_cache_gigabytes: float = 1.0
    max_running: int = RUNNING
    executor: Literal["mp", "ray"] = "mp"
    batch_invariant: bool = False
    memory_share: float | None = None
    on_tokens: Callable[[int], None] = field(default=lambda count: None)
    on_counts: Callable[..., None] = field(default=lambda **counts: None)
    on_note: Callable[[str], None] = field(default=lambda sentence: None)


StartEngine = Callable[[EngineStart], Engine]
"""Starts an engine, and returns when it can answer. Raises EngineStartError with the end of the engine's log."""


def redirect_output(log_file: Path) -> None:
    """Redirect stdout and stderr of this process to `log_file`; children that start later inherit them.

    File descriptors are replaced, not `sys.stdout`, because native code and child processes write to them directly.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


@contextmanager
def captured_output(log_file: Path) -> Iterator[None]:
    """Redirect stdout and stderr to `log_file` while the block runs."""
    originals = os.dup(1), os.dup(2)
    redirect_output(log_file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), originals, strict=True):
            os.dup2(original, descriptor)
            os.close(original)


def last_lines(log_file: Path, count: int = 15) -> str:
    """The last `count` lines of the log, or a note that there is none."""
    if not log_file.exists():
        return "(the engine wrote no log)"
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-count:])
