"""Moves GPUs between the pools of a running stage where the measured load differs from the planned one.

The plan gives replicas to model and judges by an estimate of their work. A pool that is full limits the stage. A pool
that has a replica to spare gives it away. The new replica loads its weights first, so the stage must last long enough.
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
"""The load is the mean over so long a time, in which each pool had a ready replica and the full one had all of its."""

LEAST_SECONDS_LEFT = 900.0
"""Loading an engine takes minutes: near the end of a stage no replica moves."""

FULL = 0.9
"""Share of a pool's request slots in use from which it limits the stage."""

SPARE = 0.8
"""Load of the remaining replicas up to which a pool may give one away."""


@dataclass(frozen=True, slots=True)
class Move:
    """`donor` may have one replica less, and `receiver` one more. Both are places among the pools of the stage."""

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
        """Whether at least two pools of engines on GPUs have a size that nobody has fixed."""
        return sum(map(self._is_open, range(len(self._pools)))) > 1

    def note(self, progress: Mapping[str, PoolProgress], rows_left: int) -> Move | None:
        """The move that is worth it now, if one is; it counts as made. To be called about once a second."""
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
        donor, receiver = (self._pools[place].needs.pool for place in (move.donor, move.receiver))
        return (
            f"{receiver} has more work than its replicas can do, and {donor} has less: a GPU moves from {donor} "
            f"(now {self._replicas[move.donor]}) to {receiver} (now {self._replicas[move.receiver]})."
        )

    def _best_move(self) -> Move | None:
        """From the pool with most to spare to the fullest one; never back."""
        places = [place for place in range(len(self._pools)) if self._is_open(place)]
        full = [place for place in places if self._is_full(place)]
        donors = [place for place in places if self._spare(place) > 0]
        moves = [
            Move(donor, receiver)
            for receiver in sorted(full, key=lambda place: -self._occupancy(place) / self._replicas[place])
            for donor in sorted(donors, key=lambda place: -self._spare(place))
            if donor != receiver
            and self._pools[donor].needs.gpus >= self._pools[receiver].needs.gpus
            and Move(receiver, donor) not in self._moved
        ]
        return next(iter(moves), None)

    def _is_open(self, place: int) -> bool:
        pool = self._pools[place]
        return pool.needs.wanted is None and pool.needs.gpus >= 1 and not pool.may_grow

    def _is_full(self, place: int) -> bool:
        """Whether all replicas were ready, and the slots of all of them in use.

        Of other pools fewer may be ready: Ray Data ends idle replicas by itself, and starts them again.
        """
        all_ready = all(reading.ready[place] == self._replicas[place] for reading in self._readings)
        return all_ready and self._occupancy(place) >= FULL * self._replicas[place]

    def _spare(self, place: int) -> float:
        """By how many replicas a pool of one replica less would still be larger than its load, with a margin."""
        return SPARE * (self._replicas[place] - 1) - self._needed(place)

    def _needed(self, place: int) -> float:
        """Replicas that the load takes. A model decodes: its speed grows with the requests, so slots in use count.

        A judge reads whole responses, which keeps a GPU busy with few of them: a replica counts while it has a block.
        """
        if self._pools[place].needs.pool == MODEL_POOL:
            return self._occupancy(place)
        return fmean(
            min(self._replicas[place], math.ceil(reading.rows_in_flight[place] / self._block_rows))
            for reading in self._readings
        )

    def _occupancy(self, place: int) -> float:
        """Replicas whose request slots the rows of the pool fill, on average."""
        return fmean(reading.rows_in_flight[place] for reading in self._readings) / self._running[place]

    def _seconds_left(self, rows_left: int) -> float:
        first, last = self._readings[0], self._readings[-1]
        done = last.rows_done - first.rows_done
        return rows_left * (last.seconds - first.seconds) / done if done > 0 else math.inf
