"""Trying again: how long a store that does not answer is waited for, and who hears of it."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa

from safechain_ray.storage.store_errors import trouble_of

T = TypeVar("T")
Say = Callable[[str], None]

PATIENCE_SECONDS = 60.0
"""For what a person waits for; runs have their own (`resources.storage_patience_minutes`)."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0

TELL_AFTER = 3.0
"""A blip shorter than this is not told."""


class UnansweredError(OSError):
    """The store did not answer as long as it was waited for."""


class Silence:
    """Since when a store has not answered, over all threads that ask it; tells a person when that begins and ends.

    `patience` is how long it is waited for in all, in seconds, whoever of those that share this notices it: some of
    them try once.
    """

    def __init__(self, say: Say | None = None, patience: float = PATIENCE_SECONDS) -> None:
        self._say = say
        self._patience = patience
        self._lock = threading.Lock()
        self._since: float | None = None
        self._told = False

    @property
    def since(self) -> float | None:
        """The time of `time.monotonic`, None while the store answers."""
        return self._since

    def heard_nothing(self, reason: str) -> float:
        """An attempt failed; gives since when none has succeeded."""
        now = time.monotonic()
        with self._lock:
            if self._since is None:
                self._since = now
            since = self._since
            tell = not self._told and now - since >= TELL_AFTER
            self._told = self._told or tell
        if tell and self._say is not None:
            began = datetime.fromtimestamp(time.time() - (now - since), UTC)
            self._say(
                f"The store does not answer since {began:%H:%M:%S} UTC ({reason}). Nothing is lost: it is asked again "
                f"for up to {in_words(self._patience)}, and the work goes on when it answers."
            )
        return since

    def heard(self) -> None:
        """An attempt succeeded, or was refused for good: the store is there."""
        if self._since is None:
            return
        with self._lock:
            since, told = self._since, self._told
            self._since, self._told = None, False
        if since is not None and told and self._say is not None:
            self._say(f"The store answers again, after {in_words(time.monotonic() - since)}.")


@dataclass(frozen=True)
class Patience:
    """How long an operation is tried again in all, in seconds; 0 is one try.

    A copy in another process has the seconds, and a silence of its own that nobody hears of.
    """

    seconds: float = PATIENCE_SECONDS
    silence: Silence = field(default_factory=Silence, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Patience, (self.seconds,)

    def persist(self, attempt: Callable[[], T]) -> T:
        """What `attempt` gives, tried again after growing pauses while its errors may pass.

        The time counts from the first failure of the store, whoever met it: where others have waited in vain already,
        this does not wait as long again. Raises UnansweredError when it is over, and final errors at once.
        """
        first_failure: float | None = None
        tries = 0
        while True:
            try:
                result = attempt()
            except (OSError, pa.ArrowException) as error:
                trouble = trouble_of(error)
                if trouble.final:
                    self.silence.heard()
                    raise
                silent_since = self.silence.heard_nothing(trouble.reason)
                now = time.monotonic()
                first_failure = first_failure or now
                waited = now - min(first_failure, silent_since)
                tries += 1
                if waited >= self.seconds:
                    raise UnansweredError(_given_up(trouble.reason, waited)) from error
                time.sleep(min(pause(tries), self.seconds - waited))
            else:
                self.silence.heard()
                return result


def pause(tries: int) -> float:
    """Seconds to wait after so many failures: doubling, with jitter, so that many clients do not come back together."""
    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries, 10))
    return random.uniform(longest / 2, longest)


def in_words(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds >= 90 else f"{round(seconds)} seconds"


def _given_up(reason: str, waited: float) -> str:
    if waited < 1:
        return reason
    return f"the store has not answered for {in_words(waited)} ({reason}). The same command goes on when it does"
