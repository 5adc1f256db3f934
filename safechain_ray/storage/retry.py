"""Trying again: how long a store that does not answer is waited for, and who hears of it.

What an error of a file system or a store means: why, whether trying again may fix it, and what to do.
"""

import errno
import os
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa

_CODE = re.compile(r"AWS Error (\w+)|google::cloud::Status\((\w+)")

_CREDENTIALS = (
    "the store refuses these credentials: look at what the usual chain finds (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, the machine's role; GOOGLE_APPLICATION_CREDENTIALS for gs://)"
)

_REFUSED = (
    "the store refuses it: the keys are wrong or have expired, or they lack the right. Look at the credentials of the "
    "environment, and at what their user may do in this bucket (list, read, write and delete are needed)"
)

_NO_BUCKET = "there is no such bucket: create it, or correct its name, its region or the endpoint"

_REGION = "the bucket is in another region: give it as ?region=NAME, or leave it out to have it looked up"

_CLOCK = "this machine's clock is wrong: set it (signatures hold the time)"

_FULL = "no space left on the device (free some, then run the same command again: what was written is whole)"

_MISSING = "there is no such file, folder or bucket"

FINAL = {
    "ACCESS_DENIED": _REFUSED,
    "FORBIDDEN": _REFUSED,
    "UNAUTHORIZED": _REFUSED,
    "PERMISSION_DENIED": _REFUSED,
    "UNAUTHENTICATED": _CREDENTIALS,
    "INVALID_ACCESS_KEY_ID": _CREDENTIALS,
    "SIGNATURE_DOES_NOT_MATCH": _CREDENTIALS,
    "INVALID_SIGNATURE": _CREDENTIALS,
    "INVALID_CLIENT_TOKEN_ID": _CREDENTIALS,
    "MISSING_AUTHENTICATION_TOKEN": _CREDENTIALS,
    "UNRECOGNIZED_CLIENT": _CREDENTIALS,
    "NO_SUCH_BUCKET": _NO_BUCKET,
    "REQUEST_EXPIRED": _CLOCK,
    "REQUEST_TIME_TOO_SKEWED": _CLOCK,
    "PERMANENT_REDIRECT": _REGION,
    "NO_SUCH_KEY": "",
    "RESOURCE_NOT_FOUND": "",
    "NOT_FOUND": _MISSING,
    "VALIDATION": "",
    "INVALID_ARGUMENT": "",
    "INVALID_PARAMETER_VALUE": "",
    "FAILED_PRECONDITION": "",
    "INVALID_OBJECT_STATE": "",
}

"""Errors of S3 and of Google that no second try fixes, with what to do; empty: the store's own words say it all.

All others (no connection, 5xx, slow down, throttling, what has no name) may pass.
"""

_CLIENT_ERROR = re.compile(r"HTTP (?:response code|status)[: ]+(?:400|401|403|404|405|411|412|413|414|416|501)\b")

_GOOGLE = re.compile(r"google::cloud::Status\((\w+): (?:.*with a last message of )?(.*?) error_info=.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StoreError:
    """`final` where trying again can't help. `reason` is the middle of a sentence."""

    reason: str
    final: bool


def store_error_of(error: Exception) -> StoreError:
    """What an OSError or an ArrowException of a remote or local file system means."""
    if isinstance(error, pa.ArrowException) and not isinstance(error, OSError):
        return StoreError(_own_words(error), final=True)  # what was read is no whole file of its kind
    code = _code(error)
    if code in FINAL:
        fix = FINAL[code]
        return StoreError(f"{fix} ({_own_words(error)})" if fix else _own_words(error), final=True)
    if isinstance(error, FileNotFoundError):
        return StoreError(_MISSING, final=True)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(_FULL, final=True)
    if isinstance(error, PermissionError) or _CLIENT_ERROR.search(str(error)):
        return StoreError(os.strerror(number) if number else _own_words(error), final=True)
    if number is not None and error.__class__ is not OSError:
        return StoreError(os.strerror(number), final=False)
    return StoreError(_own_words(error), final=False)


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return None if found is None else found[1] or found[2]


def _own_words(error: Exception) -> str:
    return _GOOGLE.sub(r"\1: \2", str(error)).rstrip(".")


T = TypeVar("T")

Report = Callable[[str], None]

PATIENCE_SECONDS = 60.0

"""For what a person waits for; runs have their own (`resources.storage_patience_minutes`)."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0

TELL_AFTER = 3.0

"""A blip shorter than this is not told."""


class UnansweredError(OSError):
    """The store did not answer as long as it was waited for."""


class OutageState:
    """Since when a store has not answered, over all threads that ask it; tells a person when that begins and ends.

    `patience` is how long it is waited for in all, in seconds, whoever of those that share this notices it: some of
    them try once.
    """

    def __init__(self, report: Report | None = None, patience: float = PATIENCE_SECONDS) -> None:
        self._say = report
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
    silence: OutageState = field(default_factory=OutageState, compare=False, repr=False)

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
                trouble = store_error_of(error)
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
