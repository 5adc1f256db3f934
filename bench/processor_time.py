"""Processor time and memory of a pipeline's processes: figures that other load on the machine hardly moves."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from safechain_ray.runs.progress import Snapshot

PERIOD_SECONDS = 1.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
MEGABYTES_A_PAGE = os.sysconf("SC_PAGE_SIZE") / 2**20

ROLES = {"MapWorker": "actors", "Map": "tasks", "Streaming": "tasks", "IDLE": "tasks"}
"""How Ray's title of a worker process begins -> its role. What else Ray starts is "other", and so are vLLM's."""


class ProcessorTime:
    """Watches this process and all that it starts within a `with` block."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}
        self._before: dict[int, float] = {}
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="processor-time", daemon=True)

    def __enter__(self) -> "ProcessorTime":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def restart(self) -> None:
        """Forget what was used until now."""
        self._look()
        self._before = {pid: seconds for pid, (_, seconds) in self._seen.items()}

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds since the start by role: driver (this process), actors, tasks, other."""
        with self._looking:
            used: defaultdict[str, float] = defaultdict(float)
            for pid, (role, seconds) in self._seen.items():
                used[role] += seconds - self._before.get(pid, 0.0)
            return dict(used)

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD_SECONDS):
            self._look()

    def _look(self) -> None:
        with self._looking:
            for pid in family(os.getpid()):
                try:
                    stat = Path(f"/proc/{pid}/stat").read_text()
                    title = Path(f"/proc/{pid}/cmdline").read_text()
                except OSError:
                    continue
                user, system = stat.rpartition(")")[2].split()[11:13]
                self._seen[pid] = (self._role(pid, title), (int(user) + int(system)) / TICKS_A_SECOND)

    def _role(self, pid: int, title: str) -> str:
        if pid == os.getpid():
            return "driver"
        if not title.startswith("ray::"):
            return self._seen.get(pid, ("other", 0.0))[0]
        return next((role for start, role in ROLES.items() if title.startswith(f"ray::{start}")), "other")


class StreamWatcher:
    """An observer that watches a pipeline from when `has_begun` is true, so that its start-up is left out."""

    def __init__(self, processor: ProcessorTime, has_begun: Callable[[], bool]) -> None:
        self._processor = processor
        self._has_begun = has_begun
        self._created = time.monotonic()
        self._begun: float | None = None
        self.rows_before = 0
        self.seconds = 0.0
        self.peak_megabytes = 0.0
        self.cpu: dict[str, float] = {}

    @property
    def whole_seconds(self) -> float:
        """Seconds since this observer was made."""
        return time.monotonic() - self._created

    def report(self, sentence: str) -> None:
        """Nothing: the table says it all."""

    def update(self, snapshot: Snapshot) -> None:
        self.peak_megabytes = max(self.peak_megabytes, own_megabytes())
        if self._begun is None and self._has_begun():
            self._begun = time.monotonic()
            self.rows_before = snapshot.committed["rows"]
            self._processor.restart()
        self.cpu = self._processor.seconds
        if self._begun is not None:
            self.seconds = time.monotonic() - self._begun


def own_megabytes() -> float:
    """Memory of this process that it shares with no other: the object store's pages are Ray's, not the driver's."""
    _, resident, shared, *_ = (int(pages) for pages in Path("/proc/self/statm").read_text().split())
    return (resident - shared) * MEGABYTES_A_PAGE


def family(pid: int) -> Iterator[int]:
    """The process and its descendants."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from family(child)
