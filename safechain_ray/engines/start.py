"""How an engine comes to life: what it needs, on which device, and where its log goes.

Sends what a process and its children print to a file, and reads the file's end back for error messages.
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

"""Requests that an engine decodes at once, where neither the user nor the GPU's memory says another number."""


@dataclass(frozen=True, slots=True)
class EngineStart:
    """One engine to start. `kv_cache_gigabytes` bounds the cache on CPU; a GPU's is what its memory leaves.

    `memory_share` is the engine's part of a GPU that it shares with others; None where its GPUs are its own.

    `batch_invariant` engines of GPUs give a text that does not depend on the requests beside it.
    `on_tokens` gets the number of new tokens, `on_counts` the engine's other counts, `on_note` sentences for the
    driver's screen.
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

"""Starts an engine and returns when it can answer. Raises EngineStartError with the end of the engine's log."""


def redirect_output(log_file: Path) -> None:
    """Point this process's stdout and stderr at `log_file` for good; children started later inherit it.

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
    """The same for the length of a block."""
    kept = os.dup(1), os.dup(2)
    redirect_output(log_file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)


def last_lines(log_file: Path, count: int = 15) -> str:
    """The last `count` lines of the log, or a word that there is none."""
    if not log_file.exists():
        return "(the engine wrote no log)"
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-count:])
