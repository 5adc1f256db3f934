"""How long something lasts that a person should hear of."""

import time
from dataclasses import dataclass

TOLD_SECONDS = 60.0
"""A sweep that can't start a model says so after this long: what a run leaves is free only moments later."""


@dataclass
class Lasting:
    """For how long something lasts, and whether that was told."""

    since: float | None = None
    told: bool = False

    def seconds(self, lasts: bool) -> float:
        """Called again and again; 0 as long as it does not last."""
        now = time.monotonic()
        if not lasts:
            self.since, self.told = None, False
            return 0.0
        if self.since is None:
            self.since = now
        return now - self.since

    def is_to_tell(self, seconds: float) -> bool:
        """Once, after `TOLD_SECONDS`."""
        if self.told or seconds < TOLD_SECONDS:
            return False
        self.told = True
        return True
