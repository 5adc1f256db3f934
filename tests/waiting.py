"""Waiting in tests for what another process or thread does."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")


def wait_for(look: Callable[[], Seen], seconds: float = 30) -> Seen:
    """The first true value of `look`. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not seen in {seconds} s"
        time.sleep(0.05)
    return seen
