"""Reads many files in parallel and in order, with a limit on the memory of their contents."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from safechain_ray.storage.files import FileFacts

READERS = 16
"""Files read at the same time: an object store answers slowly, but many requests at once."""

FILES_AHEAD = 4 * READERS
"""Files that are read before the first of them is processed."""

MEMORY_AHEAD = 256 * 2**20
"""Bytes of these files in memory. A file that is much larger than those before it may exceed it."""

Contents = TypeVar("Contents")


def read_ahead(
    files: Sequence[FileFacts], read: Callable[[str], Contents], memory: Callable[[Contents], int]
) -> Iterator[Contents]:
    """`read(name)` of each file, in the order of `files`.

    `memory` returns the bytes that the contents of a file take. The size of a file says little about it: repeated text
    can take forty times as much. A file that is not read yet counts as much as the largest of the latest files.
    Parallel reads start with one file, and double with each file.
    """
    waiting, reading = deque(files), deque[tuple[Future[Contents], int]]()
    latest, most_files = deque([0], maxlen=READERS), 1

    def expected(future: Future[Contents], size: int) -> int:
        is_read = future.done() and future.exception() is None
        return memory(future.result()) if is_read else max(size, *latest)

    with ThreadPoolExecutor(READERS) as readers:
        try:
            while waiting or reading:
                while waiting and len(reading) < most_files and _unread(reading) < READERS:
                    ahead = sum(expected(*each) for each in reading) + max(waiting[0].size, *latest)
                    if reading and ahead > MEMORY_AHEAD:
                        break
                    file = waiting.popleft()
                    reading.append((readers.submit(read, file.name), file.size))
                contents = reading.popleft()[0].result()
                latest.append(memory(contents))
                most_files = min(2 * most_files, FILES_AHEAD)
                yield contents
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


def _unread(reading: Iterable[tuple[Future[Contents], int]]) -> int:
    return sum(not future.done() for future, _ in reading)
