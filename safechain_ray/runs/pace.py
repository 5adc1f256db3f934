"""Throughput of a stage and of each of its pools over the last minutes."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from safechain_ray.cluster.progress import PoolProgress

TOKEN_SECONDS = 60.0
ROW_SECONDS = 600.0
"""Rows are committed in blocks, which may be minutes apart."""

NOTE_SECONDS = 1.0


class Pace:
    """Keeps what was counted at most once a second, as far back as `row_seconds`. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float], row_seconds: float = ROW_SECONDS) -> None:
        self._clock = clock
        self._row_seconds = row_seconds
        self._seen: deque[tuple[float, int, int]] = deque()

    def note(self, rows: int, tokens: int) -> None:
        """Note the sums of rows and tokens so far."""
        now = self._clock()
        if self._seen and now - self._seen[-1][0] < NOTE_SECONDS:
            return
        self._seen.append((now, rows, tokens))
        while now - self._seen[0][0] > self._row_seconds:
            self._seen.popleft()

    @property
    def rows_per_second(self) -> float | None:
        """Over the last `row_seconds`; None before there are two notes."""
        return self._rate(1, self._row_seconds)

    @property
    def tokens_per_second(self) -> float | None:
        """Over the last minute; None before there are two notes."""
        return self._rate(2, TOKEN_SECONDS)

    def _rate(self, count: int, seconds: float) -> float | None:
        if len(self._seen) < 2:
            return None
        last = self._seen[-1]
        first = next(seen for seen in self._seen if last[0] - seen[0] <= seconds)
        if first is last:
            return None
        return round((last[count] - first[count]) / (last[0] - first[0]), 4)


@dataclass(frozen=True, slots=True)
class PoolRate:
    """Throughput of one pool over the last minute; None before it can be known."""

    rows_per_second: float | None = None
    tokens_per_second: float | None = None


class PoolRates:
    """The rate of each pool since it first had a ready replica, so that loading does not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._paces: dict[str, Pace] = {}

    def note(self, pools: Mapping[str, PoolProgress]) -> dict[str, PoolRate]:
        """Note the latest counts; gives the rate of each pool that has started."""
        for name, pool in pools.items():
            if name in self._paces or pool.ready:
                pace = self._paces.setdefault(name, Pace(self._clock, TOKEN_SECONDS))
                pace.note(pool.counts["rows_out"], pool.counts["tokens"])
        return {name: PoolRate(pace.rows_per_second, pace.tokens_per_second) for name, pace in self._paces.items()}
