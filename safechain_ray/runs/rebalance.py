"""Moves GPUs between the pools of a running stage where the measured load differs from the planned one.

The plan distributes replicas between model and judges by an estimate of their work. A full pool limits the stage, and
a pool with a spare replica releases it. The new replica loads its weights first, so the stage must last long enough.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from safechain_ray.cluster.planner import PlannedPool
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.runs.pools import MODEL_POOL

WINDOW_SECONDS = 180.0
"""The load is the mean over this window, in which each pool had a ready replica, and the full pool all of its own."""

LEAST_SECONDS_LEFT = 900.0
"""Loading an engine takes minutes: near the end of a stage no replica moves."""

FULL = 0.9
"""Share of a pool's request slots in use from which it limits the stage."""

SPARE = 0.8
"""Load of the remaining replicas up to which a pool may give one away."""


@dataclass(frozen=True, slots=True)
class Move:
    """`donor` may have one replica less, and `receiver` one more. Both are indices into the pools of the stage."""

    donor: int
    receiver: int


@dataclass(frozen=True, slots=True)
class _Reading:
    seconds: float
    ready: tuple[int, ...]
    rows_in_flight: tuple[int, ...]
    rows_done: int


class Rebalance:
    """Watches the pools of one stage. `running` are the requests that one replica of each pool decodes at once."""

    def __init__(
        self, pools: Sequence[PlannedPool], running: Sequence[int], block_rows: int, clock: Callable[[], float]
    ) -> None:
        self._pools = pools
        self._running = running
        self._block_rows = block_rows
        self._clock = clock
        self._replicas = [pool.replicas for pool in pools]
        self._readings: deque[_Reading] = deque()
        self._moved: set[Move] = set()

    @property
    def may_move(self) -> bool:
        """Whether at least two pools of engines on GPUs have a size that the config leaves open."""
        return sum(map(self._is_open, range(len(self._pools)))) > 1

    def note(self, progress: Mapping[str, PoolProgress], rows_left: int) -> Move | None:
        """The move that pays off now, if there is one; it counts as made. Called about once a second."""
        seen = [progress.get(pool.needs.pool, PoolProgress()) for pool in self._pools]
        ready = tuple(each.ready for each in seen)
        if not all(ready):  # engines load, or died
            self._readings.clear()
            return None
        in_flight = tuple(max(0, each.counts["rows_in"] - each.counts["rows_out"]) for each in seen)
        now = self._clock()
        self._readings.append(_Reading(now, ready, in_flight, seen[-1].counts["rows_out"]))
        if now - self._readings[0].seconds < WINDOW_SECONDS:
            return None
        move = self._best_move() if self._seconds_left(rows_left) >= LEAST_SECONDS_LEFT else None
        self._readings.popleft()
        if move is not None:
            self._moved.add(move)
            self._replicas[move.donor] -= 1
            self._replicas[move.receiver] += 1
            self._readings.clear()
        return move

    def describe(self, move: Move) -> str:
        """A sentence for the driver's screen."""
        donor, receiver = (self._pools[index].needs.pool for index in (move.donor, move.receiver))
        return (
            f"{receiver} has more work than its replicas can do, and {donor} has less. A GPU moves from {donor} "
            f"(now {self._replicas[move.donor]}) to {receiver} (now {self._replicas[move.receiver]})."
        )

    def _best_move(self) -> Move | None:
        """From the pool with the most spare replicas to the fullest pool; never back."""
        indices = [index for index in range(len(self._pools)) if self._is_open(index)]
        full = [index for index in indices if self._is_full(index)]
        donors = [index for index in indices if self._spare(index) > 0]
        moves = [
            Move(donor, receiver)
            for receiver in sorted(full, key=lambda index: -self._occupancy(index) / self._replicas[index])
            for donor in sorted(donors, key=lambda index: -self._spare(index))
            if donor != receiver
            and self._pools[donor].needs.gpus >= self._pools[receiver].needs.gpus
            and Move(receiver, donor) not in self._moved
        ]
        return next(iter(moves), None)

    def _is_open(self, index: int) -> bool:
        pool = self._pools[index]
        return pool.needs.wanted is None and pool.needs.gpus >= 1 and not pool.may_grow

    def _is_full(self, index: int) -> bool:
        """Whether all replicas were ready, and the slots of all of them in use.

        Other pools may have fewer ready replicas: Ray Data scales idle replicas down, and up again.
        """
        all_ready = all(reading.ready[index] == self._replicas[index] for reading in self._readings)
        return all_ready and self._occupancy(index) >= FULL * self._replicas[index]

    def _spare(self, index: int) -> float:
        """Replicas beyond the load, with a margin, that the pool would still have with one replica less."""
        return SPARE * (self._replicas[index] - 1) - self._needed(index)

    def _needed(self, index: int) -> float:
        """Replicas that the load needs. A model decodes: its speed grows with the requests, so slots in use count.

        A judge reads whole responses, and a few of them saturate a GPU: a replica counts while it has a block.
        """
        if self._pools[index].needs.pool == MODEL_POOL:
            return self._occupancy(index)
        return fmean(
            min(self._replicas[index], math.ceil(reading.rows_in_flight[index] / self._block_rows))
            for reading in self._readings
        )

    def _occupancy(self, index: int) -> float:
        """Replicas whose request slots the rows of the pool fill, on average."""
        return fmean(reading.rows_in_flight[index] for reading in self._readings) / self._running[index]

    def _seconds_left(self, rows_left: int) -> float:
        first, last = self._readings[0], self._readings[-1]
        done = last.rows_done - first.rows_done
        return rows_left * (last.seconds - first.seconds) / done if done > 0 else math.inf
