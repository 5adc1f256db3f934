"""Loading is progress: bytes of real child processes, and GPU memory that fills."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from safechain_ray.engines.start import LOADED, MIB, LoadedBytes, loading_reported

READER = "import sys, time; print(len(open(sys.argv[1], 'rb').read()), flush=True); time.sleep(60)"
SPINNER = "print(0, flush=True)\nwhile True: pass"


@contextmanager
def child(program: str, *arguments: str) -> Iterator[None]:
    """A child process that has printed its first line."""
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


def test_what_a_child_reads_counts_and_waiting_does_not(tmp_path: Path):
    weights = tmp_path / "weights"
    weights.write_bytes(os.urandom(8 * MIB))
    loaded = LoadedBytes()

    with child(READER, str(weights)):
        assert loaded.more() >= 8 * MIB
        assert loaded.more() < MIB


def test_a_process_that_spins_loads_nothing():
    with child(SPINNER):
        loaded = LoadedBytes()
        time.sleep(0.5)
        assert loaded.more() < MIB


def test_gpu_memory_that_fills_counts_and_memory_given_back_does_not():
    memory = iter([10 * MIB, 50 * MIB, 20 * MIB])
    loaded = LoadedBytes(lambda: next(memory))
    assert loaded.more() >= 40 * MIB
    assert loaded.more() < 20 * MIB


class Counted(LoadedBytes):
    """Bytes as a test says, one number a poll, then none."""

    def __init__(self, *polls: int) -> None:
        self._polls = iter(polls)
        self.done = Event()

    def more(self) -> int:
        try:
            return next(self._polls)
        except StopIteration:
            self.done.set()
            return 0


def reported(loaded: Counted, unseen: float = 0.0) -> list[int]:
    """The megabytes that are counted until two polls after the last number."""
    counts: list[int] = []
    with loading_reported(lambda **more: counts.append(more[LOADED]), loaded, unseen, poll=0.05):
        assert loaded.done.wait(60)
        time.sleep(0.2)
    return counts


def test_whole_megabytes_are_counted_while_the_engine_loads():
    assert reported(Counted(3 * MIB, 100, MIB)) == [3, 1]
    assert reported(Counted()) == []


def test_weights_that_other_nodes_load_count_for_as_long_as_their_size_allows():
    assert all(reported(Counted(), unseen=1e12))
    assert len(reported(Counted(), unseen=1e12)) >= 1
    assert reported(Counted(), unseen=1.0) == []
