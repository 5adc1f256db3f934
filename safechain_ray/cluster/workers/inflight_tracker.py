"""The ledger: an actor that outlives workers, and knows their rows, how far each is and how many engines it met die.

Which row kills engines: what is held against a row, and how few others it may meet until that is settled.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from safechain_ray.cluster.nodes import beside_driver, staying_nodes, this_node
from safechain_ray.decoding.base import DecodeCheckpoint


@dataclass(frozen=True, slots=True)
class CrashRecord:
    """`deaths` engines died while a row was decoded; at the last one `crowd` rows were, itself among them."""

    deaths: int
    crowd: int

    def room(self, max_deaths: int) -> int:
        """How many rows an engine may decode together with this one counted.

        The crowd shrinks by the same factor at each death, so that a row is alone at death number `max_deaths`
        however many it began with: 512 rows, then 22, then 1 for three.
        """
        left = max_deaths - self.deaths
        return max(1, int(self.crowd ** ((left - 1) / left))) if left > 1 else 1

    def is_settled(self, max_deaths: int) -> bool:
        """Whether the row is their cause: it was alone at the last of `max_deaths` deaths or more."""
        return self.deaths >= max_deaths and self.crowd == 1


def record_crash(known: Mapping[str, CrashRecord], rows: Collection[str]) -> dict[str, CrashRecord]:
    """What is held against each of `rows` after an engine died that decoded all of them."""
    return {row: CrashRecord(known[row].deaths + 1 if row in known else 1, len(rows)) for row in rows}


Known = TypeVar("Known")

current_row: ContextVar[str] = ContextVar("row_in_hand")

"""The row that a worker's coroutine is at: what its requests are counted under."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the ledger has of a block's rows, where it has anything; `again` is how many another worker had begun."""

    suspicions: dict[str, CrashRecord]
    checkpoint: dict[str, DecodeCheckpoint]
    again: int = 0


@dataclass(slots=True)
class _Holding:
    """Rows of blocks that a worker has begun; `decoding` are those in its engine, known while any is suspected."""

    node: str
    rows: set[str] = field(default_factory=set)
    decoding: frozenset[str] = frozenset()


class InFlightTracker:
    """Who holds which rows. Ray gives a row to another worker only when the one that held it is gone.

    A worker that goes while its node stays died of something, perhaps of what it decoded, as an engine does that dies
    inside a worker that lives: its rows are suspects. A node that goes, or is told to, takes its workers along whatever
    they do, and nobody is suspected.
    """

    def __init__(self, staying: Callable[[], frozenset[str]] = staying_nodes) -> None:
        self._staying = staying
        self._holdings: dict[str, _Holding] = {}
        self._holder: dict[str, str] = {}
        self._suspicions: dict[str, CrashRecord] = {}
        self._kept: dict[str, DecodeCheckpoint] = {}

    def claim(self, worker: str, node: str, rows: list[str]) -> Taken:
        """`worker`, on `node`, begins a block."""
        gone = [holder for row in rows if (holder := self._holder.get(row, worker)) != worker]
        for holder in set(gone):
            self.mark_lost(holder)
        self._holdings.setdefault(worker, _Holding(node)).rows.update(rows)
        self._holder.update(dict.fromkeys(rows, worker))
        return Taken(
            {row: self._suspicions[row] for row in rows if row in self._suspicions},
            {row: self._kept[row] for row in rows if row in self._kept},
            len(gone),
        )

    def save_checkpoint(self, row: str, checkpoint: DecodeCheckpoint) -> None:
        """How far a row is that may take long; forgotten when its block is done."""
        if row in self._holder:
            self._kept[row] = checkpoint

    def longest_checkpoints(self, most: float) -> dict[str, DecodeCheckpoint]:
        """How far rows are that are not done, by their names here: the longest, of `most` characters together."""
        sizes = {row: sum(len(str(value)) for value in checkpoint.values()) for row, checkpoint in self._kept.items()}
        longest: dict[str, DecodeCheckpoint] = {}
        for row in sorted(sizes, key=sizes.__getitem__, reverse=True):
            most -= sizes[row]
            if most < 0:
                break
            longest[row] = self._kept[row]
        return longest

    def restore(self, checkpoint: dict[str, DecodeCheckpoint]) -> None:
        """Take over what the ledger of an earlier driver had."""
        self._kept |= checkpoint

    def decodes(self, worker: str, rows: list[str]) -> None:
        """The engine of `worker` decodes these suspects and nothing else; no rows: it decodes all that it holds."""
        if worker in self._holdings:
            self._holdings[worker].decoding = frozenset(rows)

    def died(self, rows: list[str]) -> None:
        """An engine died that decoded these rows; its worker lives and holds them."""
        self._suspicions |= record_crash(self._suspicions, rows)

    def finish(self, worker: str, rows: list[str]) -> None:
        """`worker` is done with a block."""
        holding = self._holdings.get(worker)
        if holding is None:
            return  # it was taken for gone, and lived
        mine = holding.rows.intersection(rows)
        holding.rows -= mine
        for row in mine:
            del self._holder[row]
            self._kept.pop(row, None)

    def mark_lost(self, worker: str) -> None:
        holding = self._holdings.pop(worker)
        for row in holding.rows:
            del self._holder[row]
        if holding.node in self._staying():
            self._suspicions |= record_crash(self._suspicions, holding.decoding & holding.rows or holding.rows)


def start_ledger() -> Any:
    """The ledger as a Ray actor; it lives as long as the driver's node."""
    return beside_driver(InFlightTracker)


class TrackerClient:
    """A worker's side of the ledger: its own rows, under names that no other pool has."""

    def __init__(self, inflight_tracker: Any, pool: str) -> None:
        self._inflight_tracker = inflight_tracker
        self._pool = pool
        self._worker = f"{pool} {uuid4().hex}"
        self._node = this_node()

    async def claim(self, rows: Iterable[str]) -> Taken:
        taken: Taken = await self._inflight_tracker.claim.remote(self._worker, self._node, self._named(rows))
        return Taken(self._unnamed(taken.suspicions), self._unnamed(taken.checkpoint), taken.again)

    def save_checkpoint(self, row: str, checkpoint: DecodeCheckpoint) -> None:
        (name,) = self._named([row])
        self._inflight_tracker.save_checkpoint.remote(name, checkpoint)

    async def decodes(self, rows: Iterable[str]) -> None:
        await self._inflight_tracker.decodes.remote(self._worker, self._named(rows))

    async def died(self, rows: Iterable[str]) -> None:
        await self._inflight_tracker.died.remote(self._named(rows))

    def finish(self, rows: Iterable[str]) -> None:
        self._inflight_tracker.finish.remote(self._worker, self._named(rows))

    def _named(self, rows: Iterable[str]) -> list[str]:
        return [f"{self._pool}/{row}" for row in rows]

    def _unnamed(self, by_row: Mapping[str, Known]) -> dict[str, Known]:
        return {row.removeprefix(f"{self._pool}/"): known for row, known in by_row.items()}
