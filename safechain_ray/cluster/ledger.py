"""The ledger: an actor that outlives workers, and knows which rows they hold and under which rows engines died."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from safechain_ray.cluster.nodes import beside_driver, staying_nodes, this_node
from safechain_ray.cluster.suspicion import Suspicion, blamed

row_in_hand: ContextVar[str] = ContextVar("row_in_hand")
"""The row that a worker's coroutine is at: what its requests are counted under."""

Kept = Mapping[str, Any]
"""What a strategy has of a response that is not finished: plain values only."""


@dataclass(slots=True)
class _Holding:
    """Rows of blocks that a worker has begun; `decoding` are those in its engine, known while any is suspected."""

    node: str
    rows: set[str] = field(default_factory=set)
    decoding: frozenset[str] = frozenset()


class Ledger:
    """Who holds which rows. Ray gives a row to another worker only when the one that held it is gone.

    A worker that goes while its node stays died of something, perhaps of what it decoded, as an engine does that dies
    inside a worker that lives: its rows are suspects. A node that goes, or is told to, takes its workers along whatever
    they do, and nobody is suspected.
    """

    def __init__(self, staying: Callable[[], frozenset[str]] = staying_nodes) -> None:
        self._staying = staying
        self._holdings: dict[str, _Holding] = {}
        self._holder: dict[str, str] = {}
        self._suspicions: dict[str, Suspicion] = {}

    def take(self, worker: str, node: str, rows: list[str]) -> dict[str, Suspicion]:
        """`worker`, on `node`, begins a block; gives what is held against its rows, where there is anything."""
        gone = {holder for row in rows if (holder := self._holder.get(row, worker)) != worker}
        for holder in gone:
            self._bury(holder)
        self._holdings.setdefault(worker, _Holding(node)).rows.update(rows)
        self._holder.update(dict.fromkeys(rows, worker))
        return {row: self._suspicions[row] for row in rows if row in self._suspicions}

    def decodes(self, worker: str, rows: list[str]) -> None:
        """The engine of `worker` decodes these suspects and nothing else; no rows: it decodes all that it holds."""
        if worker in self._holdings:
            self._holdings[worker].decoding = frozenset(rows)

    def died(self, rows: list[str]) -> None:
        """An engine died that decoded these rows; its worker lives and holds them."""
        self._suspicions |= blamed(self._suspicions, rows)

    def finish(self, worker: str, rows: list[str]) -> None:
        """`worker` is done with a block."""
        holding = self._holdings.get(worker)
        if holding is None:
            return  # it was taken for gone, and lived
        mine = holding.rows.intersection(rows)
        holding.rows -= mine
        for row in mine:
            del self._holder[row]

    def _bury(self, worker: str) -> None:
        holding = self._holdings.pop(worker)
        for row in holding.rows:
            del self._holder[row]
        if holding.node in self._staying():
            self._suspicions |= blamed(self._suspicions, holding.decoding & holding.rows or holding.rows)


def start_ledger() -> Any:
    """The ledger as a Ray actor; it lives as long as the driver's node."""
    return beside_driver(Ledger)


class Custody:
    """A worker's side of the ledger: its own rows, under names that no other pool has."""

    def __init__(self, ledger: Any, pool: str) -> None:
        self._ledger = ledger
        self._pool = pool
        self._worker = f"{pool} {uuid4().hex}"
        self._node = this_node()

    async def take(self, rows: Iterable[str]) -> dict[str, Suspicion]:
        known: Mapping[str, Suspicion] = await self._ledger.take.remote(self._worker, self._node, self._named(rows))
        return {self._without_pool(row): suspicion for row, suspicion in known.items()}

    async def decodes(self, rows: Iterable[str]) -> None:
        await self._ledger.decodes.remote(self._worker, self._named(rows))

    async def died(self, rows: Iterable[str]) -> None:
        await self._ledger.died.remote(self._named(rows))

    def finish(self, rows: Iterable[str]) -> None:
        self._ledger.finish.remote(self._worker, self._named(rows))

    def _named(self, rows: Iterable[str]) -> list[str]:
        return [f"{self._pool}/{row}" for row in rows]

    def _without_pool(self, row: str) -> str:
        return row.removeprefix(f"{self._pool}/")
