"""How fast rows and tokens come: over the last minutes, so that the loading of engines is soon forgotten."""

from collections import deque
from collections.abc import Callable

TOKEN_SECONDS = 60.0
ROW_SECONDS = 600.0
"""Rows come in blocks, and long ones far between: what is left of them is told from ten minutes."""

NOTE_SECONDS = 1.0


class Pace:
    """Keeps what was counted at most once a second, as far back as the longest window. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int, int]] = deque()

    def note(self, rows: int, tokens: int) -> None:
        """Note the sums of rows and tokens so far."""
        now = self._clock()
        if self._seen and now - self._seen[-1][0] < NOTE_SECONDS:
            return
        self._seen.append((now, rows, tokens))
        while now - self._seen[0][0] > ROW_SECONDS:
            self._seen.popleft()

    @property
    def rows_per_second(self) -> float | None:
        """Over the last ten minutes; None before there are two notes."""
        return self._rate(1, ROW_SECONDS)

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
