"""In-flight tracker: which worker holds which rows, their decode checkpoints, and how often each crashed an engine.

The tracker is an actor on the driver's node, so that its state outlives workers and other nodes. Ray sends a row to
another worker only when the worker that held the row is gone.

1. A worker that is lost while its node stays was crashed by something, perhaps by a row: its rows become suspects.
2. A worker that is lost with its node, or on a draining node, makes no row a suspect.
3. A checkpoint is kept until the block of its row is finished.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from safechain_ray.cluster.nodes import beside_driver, staying_nodes, this_node
from safechain_ray.decoding.base import DecodeCheckpoint

Value = TypeVar("Value")

current_row: ContextVar[str] = ContextVar("current_row")
"""The row that a worker's coroutine processes; the row's requests are counted under this name."""


@dataclass(frozen=True, slots=True)
class CrashRecord:
    """`deaths` engines died while a row was decoded; at the last crash `group` rows were decoded, this one included."""

    deaths: int
    group: int

    def max_group(self, max_deaths: int) -> int:
        """How many rows an engine may decode together, this row included.

        The group shrinks by the same factor at each crash. For any size of the first group, a row is alone at crash
        number `max_deaths`: 512 rows, then 22, then 1 for three crashes.
        """
        left = max_deaths - self.deaths
        return max(1, int(self.group ** ((left - 1) / left))) if left > 1 else 1

    def is_settled(self, max_deaths: int) -> bool:
        """Whether the row caused the crashes: it was alone at the last one, and `max_deaths` is reached."""
        return self.deaths >= max_deaths and self.group == 1


def record_crash(known: Mapping[str, CrashRecord], rows: Collection[str]) -> dict[str, CrashRecord]:
    """The crash records of `rows` after an engine died that decoded all of them."""
    return {row: CrashRecord(known[row].deaths + 1 if row in known else 1, len(rows)) for row in rows}


@dataclass(frozen=True, slots=True)
class Claim:
    """The tracker's state of a block's rows. `retried` rows had been begun by another worker."""

    crash_records: dict[str, CrashRecord]
    checkpoints: dict[str, DecodeCheckpoint]
    retried: int = 0


@dataclass(slots=True)
class _WorkerRows:
    """Rows that a worker has claimed. `decoding` are those in its engine, reported only while some are suspects."""

    node: str
    rows: set[str] = field(default_factory=set)
    decoding: frozenset[str] = frozenset()


class InFlightTracker:
    """The actor. Rows are named by pool and id: see `TrackerClient`."""

    def __init__(self, staying: Callable[[], frozenset[str]] = staying_nodes) -> None:
        self._staying = staying
        self._by_worker: dict[str, _WorkerRows] = {}
        self._worker_of: dict[str, str] = {}
        self._crash_records: dict[str, CrashRecord] = {}
        self._checkpoints: dict[str, DecodeCheckpoint] = {}

    def claim(self, worker: str, node: str, rows: list[str]) -> Claim:
        """Assign the rows of a block to `worker`, which runs on `node`."""
        lost = [holder for row in rows if (holder := self._worker_of.get(row, worker)) != worker]
        for holder in set(lost):
            self.mark_lost(holder)
        self._by_worker.setdefault(worker, _WorkerRows(node)).rows.update(rows)
        self._worker_of.update(dict.fromkeys(rows, worker))
        return Claim(
            {row: self._crash_records[row] for row in rows if row in self._crash_records},
            {row: self._checkpoints[row] for row in rows if row in self._checkpoints},
            len(lost),
        )

    def finish(self, worker: str, rows: list[str]) -> None:
        """Release the rows of a block, and delete their checkpoints."""
        claimed = self._by_worker.get(worker)
        if claimed is None:
            return  # the worker was marked as lost, but was alive
        finished = claimed.rows.intersection(rows)
        claimed.rows -= finished
        for row in finished:
            del self._worker_of[row]
            self._checkpoints.pop(row, None)

    def mark_lost(self, worker: str) -> None:
        """Release all rows of a lost worker. They become suspects unless the worker was lost with its node."""
        claimed = self._by_worker.pop(worker)
        for row in claimed.rows:
            del self._worker_of[row]
        if claimed.node in self._staying():
            self._crash_records |= record_crash(self._crash_records, claimed.decoding & claimed.rows or claimed.rows)

    def set_decoding(self, worker: str, rows: list[str]) -> None:
        """Record that the engine of `worker` decodes these suspects alone. Without rows, it decodes all it claimed."""
        if worker in self._by_worker:
            self._by_worker[worker].decoding = frozenset(rows)

    def record_engine_crash(self, rows: list[str]) -> None:
        """Record that an engine died that decoded these rows. Its worker is alive, and holds the rows."""
        self._crash_records |= record_crash(self._crash_records, rows)

    def save_checkpoint(self, row: str, checkpoint: DecodeCheckpoint) -> None:
        """Save the state of a response that takes many calls."""
        if row in self._worker_of:
            self._checkpoints[row] = checkpoint

    def longest_checkpoints(self, max_characters: float) -> dict[str, DecodeCheckpoint]:
        """The longest checkpoints by row name, `max_characters` in total."""
        sizes = {row: sum(len(str(value)) for value in state.values()) for row, state in self._checkpoints.items()}
        longest: dict[str, DecodeCheckpoint] = {}
        for row in sorted(sizes, key=sizes.__getitem__, reverse=True):
            max_characters -= sizes[row]
            if max_characters < 0:
                break
            longest[row] = self._checkpoints[row]
        return longest

    def restore(self, checkpoints: dict[str, DecodeCheckpoint]) -> None:
        """Add the checkpoints that an earlier driver saved."""
        self._checkpoints |= checkpoints


def start_inflight_tracker() -> Any:
    """The tracker as a Ray actor, which lives as long as the driver's node."""
    return beside_driver(InFlightTracker)


class TrackerClient:
    """A worker's client of the tracker. It prefixes rows with the pool's name, so that pools do not share names."""

    def __init__(self, inflight_tracker: Any, pool: str) -> None:
        self._inflight_tracker = inflight_tracker
        self._pool = pool
        self._worker = f"{pool} {uuid4().hex}"
        self._node = this_node()

    async def claim(self, rows: Iterable[str]) -> Claim:
        claim: Claim = await self._inflight_tracker.claim.remote(self._worker, self._node, self._prefixed(rows))
        return Claim(self._unprefixed(claim.crash_records), self._unprefixed(claim.checkpoints), claim.retried)

    def finish(self, rows: Iterable[str]) -> None:
        self._inflight_tracker.finish.remote(self._worker, self._prefixed(rows))

    async def set_decoding(self, rows: Iterable[str]) -> None:
        await self._inflight_tracker.set_decoding.remote(self._worker, self._prefixed(rows))

    async def record_engine_crash(self, rows: Iterable[str]) -> None:
        await self._inflight_tracker.record_engine_crash.remote(self._prefixed(rows))

    def save_checkpoint(self, row: str, checkpoint: DecodeCheckpoint) -> None:
        (name,) = self._prefixed([row])
        self._inflight_tracker.save_checkpoint.remote(name, checkpoint)

    def _prefixed(self, rows: Iterable[str]) -> list[str]:
        return [f"{self._pool}/{row}" for row in rows]

    def _unprefixed(self, by_row: Mapping[str, Value]) -> dict[str, Value]:
        return {row.removeprefix(f"{self._pool}/"): value for row, value in by_row.items()}
