"""Reads many files in parallel and in order, with a limit on the memory of their contents."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from safechain_ray.storage.files import FileFacts

READERS = 16
"""Files read at the same time: an object store answers slowly, but many requests at once."""

FILES_AHEAD = 4 * READERS
"""Files that are read before the first of them is processed."""

MEMORY_AHEAD = 256 * 2**20
"""Bytes of these files in memory. One file may be larger."""

Contents = TypeVar("Contents")


def read_ahead(
    files: Sequence[FileFacts], read: Callable[[str], Contents], memory: Callable[[Contents], int]
) -> Iterator[Contents]:
    """`read(name)` of each file, in the order of `files`.

    `memory` returns the bytes that the contents of a file take. The files read so far say how many bytes a stored byte
    takes: repeated text can take forty. Parallel reads start with one file, and double with each file.
    """
    waiting, reading = deque(files), deque[tuple[Future[Contents], int]]()
    growth, most_files = 0.0, 1
    with ThreadPoolExecutor(READERS) as readers:
        try:
            while waiting or reading:
                ahead = sum(size for _, size in reading)
                while waiting and len(reading) < most_files:
                    ahead += waiting[0].size
                    if reading and ahead * growth > MEMORY_AHEAD:
                        break
                    file = waiting.popleft()
                    reading.append((readers.submit(read, file.name), file.size))
                future, size = reading.popleft()
                contents = future.result()
                growth = max(growth, memory(contents) / max(1, size))
                most_files = min(2 * most_files, FILES_AHEAD)
                yield contents
        finally:
            readers.shutdown(wait=False, cancel_futures=True)
