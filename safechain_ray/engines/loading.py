"""Load progress of an engine: bytes that its processes read, and GPU memory that they fill.

Loading 690 GB of weights takes longer than a run's stall timeout, and no row is finished meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from safechain_ray.engines.gpus import gpus_of_this_process, read_gpus

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
