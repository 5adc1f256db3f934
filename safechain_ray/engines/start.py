"""Engine start: the specification of an engine to start, its log file, and its load progress.

`captured_output` redirects the output of a process and its children to the log. `last_lines` quotes the log's end in
error messages.

Load progress counts bytes that the engine's processes read, and GPU memory that they fill. Loading 690 GB of weights
takes longer than a run's stall timeout, and no row is finished meanwhile."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.engines.gpus import gpus_of_this_process, read_gpus
from safechain_ray.types import Engine, ThinkingTags

Device = Literal["cpu", "cuda"]

RUNNING = 256
"""Default concurrency: the requests that an engine decodes at once."""


@dataclass(frozen=True, slots=True)
class EngineStart:
    """One engine to start. `kv_cache_gigabytes` bounds the KV cache on CPUs; on GPUs it gets the remaining memory.

    `memory_share` is the engine's share of a GPU that several engines use; None for a GPU of its own. The text of a
    `batch_invariant` engine on GPUs does not depend on concurrent requests. With `thinking_tags` vLLM can bound the
    tokens of a thought. `on_tokens` receives the number of new
    tokens, `on_counts` other counts, `on_note` sentences for the driver's screen.
    """

    needs: EngineNeeds
    device: Device
    log_file: Path
    kv_cache_gigabytes: float = 1.0
    max_running: int = RUNNING
    executor: Literal["mp", "ray"] = "mp"
    batch_invariant: bool = False
    thinking_tags: ThinkingTags | None = None
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


POLL_INTERVAL = 5.0

JOIN_TIMEOUT = 10.0

PAGE = 4096

MIB = 2**20

SLOWEST_LOAD = 50 * MIB
"""Bytes a second. Loads on other nodes can't be measured: they count as progress for as long as this rate needs."""

LOADED = "loaded_megabytes"
"""The pool's counter that grows while an engine loads."""


class LoadedBytes:
    """Bytes that this process and its descendants moved between two calls of `more`.

    Reads and writes count, and major page faults: weights that are mapped into memory are read by page faults. On GPUs
    a growing memory counts too, as reads from FUSE mounts show in no counter. Processor time does not count: processes
    of an engine that hangs wait for each other by spinning.
    """

    def __init__(self, gpu_memory: Callable[[], int] = lambda: 0) -> None:
        self._gpu_memory = gpu_memory
        self._last = self._read()

    def more(self) -> int:
        now = self._read()
        moved = sum(max(0, count - self._last.get(source, 0)) for source, count in now.items())
        self._last = now
        return moved

    def _read(self) -> dict[int, int]:
        """Bytes so far by process id; GPU memory under 0."""
        me = psutil.Process()
        counts = {0: self._gpu_memory()}
        for process in (me, *me.children(recursive=True)):
            with suppress(psutil.Error, OSError, ValueError, RuntimeError):  # the process has ended, or is ending
                counts[process.pid] = _moved_bytes(process)
        return counts


def used_gpu_memory() -> int:
    """Bytes of this process's GPUs that are in use, by all processes together."""
    return sum(gpu.memory - gpu.free for gpu in gpus_of_this_process(read_gpus()))


@contextmanager
def loading_reported(
    on_counts: Callable[..., None], loaded: LoadedBytes, unseen_bytes: float = 0.0, poll: float = POLL_INTERVAL
) -> Iterator[None]:
    """Report loaded megabytes while the block runs.

    `unseen_bytes` are loaded on other nodes. They count as loaded at the rate `SLOWEST_LOAD`, measured or not.
    """
    ended = threading.Event()
    started = time.monotonic()

    def report() -> None:
        while not ended.wait(poll):
            moved = loaded.more()
            if (time.monotonic() - started) * SLOWEST_LOAD < unseen_bytes:
                moved += int(poll * SLOWEST_LOAD)
            if moved >= MIB:
                on_counts(**{LOADED: moved // MIB})

    thread = threading.Thread(target=report, name="loading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(JOIN_TIMEOUT)  # NVML hangs where the driver does


def _moved_bytes(process: psutil.Process) -> int:
    io = process.io_counters()
    # Fields 12 of /proc/PID/stat, counted behind the name, which may hold blanks and brackets.
    faults = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[9])
    return int(io.read_chars + io.write_chars + faults * PAGE)
