"""How many requests a provider is sent at once: more while all is well, half as many when it is overloaded."""

from dataclasses import dataclass, field

FIRST_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request under way, and how often the limit had been halved when it was sent."""

    era: int


@dataclass
class AdaptiveLimit:
    """Additive increase, multiplicative decrease, as TCP does it (Jacobson 1988), in requests. Knows no clock.

    Until the first overload every success raises the limit by one, which doubles it a round trip; from then on one a
    round trip. An overload halves it, unless its request was sent before the last halving: those of one round trip
    tell of one overload. A limit that is not used is not raised. It is never below 1 and never above `cap`.
    """

    cap: int
    in_flight: int = 0
    _limit: float = field(init=False)
    _era: int = 0
    _doubling: bool = True
    _paused_until: float = 0.0

    def __post_init__(self) -> None:
        self._limit = float(min(FIRST_LIMIT, self.cap))

    @property
    def limit(self) -> int:
        return int(self._limit)

    def wait(self, now: float) -> float | None:
        """Seconds until a request may be sent, as the provider asked; 0 for at once, None for when another ends."""
        if self._paused_until > now:
            return self._paused_until - now
        return 0.0 if self.in_flight < self.limit else None

    def started(self) -> Ticket:
        self.in_flight += 1
        return Ticket(self._era)

    def succeeded(self, ticket: Ticket) -> None:
        used = 2 * self.in_flight >= self.limit
        self.in_flight -= 1
        if used and ticket.era == self._era:
            self._limit = min(float(self.cap), self._limit + (1.0 if self._doubling else 1.0 / self._limit))

    def failed(self, ticket: Ticket) -> None:
        """It failed for a reason that says nothing of the load."""
        self.in_flight -= 1

    def overloaded(self, ticket: Ticket, now: float, retry_after: float) -> None:
        """The provider had too much to do, and asked for `retry_after` seconds of quiet (0: it named none)."""
        self.in_flight -= 1
        self._paused_until = max(self._paused_until, now + retry_after)
        self._doubling = False
        if ticket.era == self._era:
            self._limit = max(1.0, self._limit / 2)
            self._era += 1
