"""Reading ahead: contents in order, each file once, within the limits of files and of memory."""

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.errors import StorageError
from safechain_ray.storage import FileFacts, read_ahead
from safechain_ray.storage.read_ahead import FILES_AHEAD, MEMORY_AHEAD, READERS

MEGABYTE = 2**20


def files(*sizes: int) -> list[FileFacts]:
    return [FileFacts(f"part-{number:04}", size, 0) for number, size in enumerate(sizes)]


class Shelf:
    """Reads files whose contents take `growth` times their size, and counts what is read and not yet consumed."""

    def __init__(self, listed: list[FileFacts], growth: float) -> None:
        self._memory = {file.name: int(file.size * growth) for file in listed}
        self._lock = threading.Lock()
        self.begun: list[str] = []
        self.consumed = 0
        self.most_memory = self.most_files = 0

    def read(self, name: str) -> str:
        with self._lock:
            self.begun.append(name)
            ahead = self.begun[self.consumed :]
            self.most_files = max(self.most_files, len(ahead))
            self.most_memory = max(self.most_memory, sum(map(self.memory, ahead)))
        return name

    def memory(self, name: str) -> int:
        return self._memory[name]

    def consume(self, contents: Iterator[str]) -> list[str]:
        consumed = []
        for name in contents:
            consumed.append(name)
            with self._lock:
                self.consumed += 1
        return consumed


@given(sizes=st.lists(st.integers(0, 40 * MEGABYTE), max_size=150), growth=st.floats(0, 50))
def test_each_file_is_read_once_and_yielded_in_order(sizes: list[int], growth: float):
    listed = files(*sizes)
    shelf = Shelf(listed, growth)
    assert shelf.consume(read_ahead(listed, shelf.read, shelf.memory)) == [file.name for file in listed]
    assert sorted(shelf.begun) == [file.name for file in listed]


def test_many_small_files_are_read_in_parallel():
    """An object store answers each request slowly."""
    listed = files(*[1000] * 200)
    shelf = Shelf(listed, growth=3)
    together = threading.Barrier(8)

    def read(name: str) -> str:
        if 100 <= int(name.removeprefix("part-")) < 108:
            together.wait(timeout=60)
        return shelf.read(name)

    assert len(shelf.consume(read_ahead(listed, read, shelf.memory))) == 200
    assert shelf.most_files <= FILES_AHEAD + 1


@pytest.mark.parametrize("growth", [1, 4, 40])
def test_memory_is_limited_by_what_the_files_take_once_read(growth: float):
    listed = files(*[3 * MEGABYTE] * 60)
    shelf = Shelf(listed, growth)
    shelf.consume(read_ahead(listed, shelf.read, shelf.memory))
    one = 3 * MEGABYTE * growth
    assert shelf.most_memory <= MEMORY_AHEAD + one


def test_dense_files_after_plain_ones_are_counted_as_they_are_read():
    """Their sizes are small: only the rows in memory show how large they are."""
    listed = files(*[4 * MEGABYTE] * 100, *[9_000] * 100)
    shelf = Shelf(listed, growth=1)
    shelf._memory |= {file.name: 60 * MEGABYTE for file in listed[100:]}
    shelf.consume(read_ahead(listed, shelf.read, shelf.memory))
    assert shelf.most_memory <= MEMORY_AHEAD + (READERS + 1) * 60 * MEGABYTE


def test_one_dense_file_makes_only_the_next_ones_slow():
    listed = files(9_000, *[4 * MEGABYTE] * 100)
    shelf = Shelf(listed, growth=1)
    shelf._memory[listed[0].name] = 200 * MEGABYTE
    assert len(shelf.consume(read_ahead(listed, shelf.read, shelf.memory))) == 101
    assert shelf.most_files > 8


def test_a_file_above_the_limit_is_read_alone():
    listed = files(*[MEMORY_AHEAD] * 3)
    shelf = Shelf(listed, growth=2)
    assert len(shelf.consume(read_ahead(listed, shelf.read, shelf.memory))) == 3
    assert shelf.most_files <= 2  # the consumer is at the one before


def failing_at(name: str) -> Callable[[str], str]:
    def read(each: str) -> str:
        if each == name:
            raise StorageError(f"{each} can't be read")
        return each

    return read


def test_an_error_arrives_at_its_file_and_ends_the_reading():
    listed = files(*[10] * 9)
    contents = read_ahead(listed, failing_at("part-0004"), memory=len)
    assert [next(contents) for _ in range(4)] == [file.name for file in listed[:4]]
    with pytest.raises(StorageError, match="part-0004 can't be read"):
        next(contents)


def test_a_consumer_may_stop_early():
    listed = files(*[10] * 500)
    shelf = Shelf(listed, growth=1)
    contents = read_ahead(listed, shelf.read, shelf.memory)
    next(contents)
    contents.close()
    assert len(shelf.begun) < 10
