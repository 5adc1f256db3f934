"""Retry policy for object stores: error classification, exponential backoff and outage notifications.

`store_error_of` classifies an error as final (wrong keys, no such bucket) or transient (no connection, 5xx,
throttling). `RetryPolicy` retries transient errors for a bounded time. `OutageState` is shared by all threads that use
one store, so that the user is notified once when an outage begins and once when it ends.
"""

import errno
import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa

_CODE = re.compile(r"(?:AWS Error |google::cloud::Status\(|Azure Error )(\w+)")

_CREDENTIALS = (
    "the store refuses these credentials",
    "check the credentials that the usual chain finds (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, the "
    "machine's role; GOOGLE_APPLICATION_CREDENTIALS for gs://)",
)

_REFUSED = (
    "the store refuses it: the keys are wrong or have expired, or they lack permission",
    "check the credentials of the environment, and the permissions of their user in this bucket (list, read, write "
    "and delete are needed)",
)

_AZURE_REFUSED = (
    "the store refuses it: the credentials are wrong or have expired, or they lack permission",
    "check AZURE_STORAGE_ACCOUNT_NAME and the credentials (AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, "
    "AZURE_CLIENT_ID with AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or the managed identity), and that they permit "
    "list, read, write and delete in this container",
)

_NO_CONTAINER = (
    "there is no such container",
    "create it, or correct its name, AZURE_STORAGE_ACCOUNT_NAME or the endpoint",
)

_NO_BUCKET = ("there is no such bucket", "create it, or correct its name, its region or the endpoint")

_REGION = (
    "the bucket is in another region",
    "give that region as ?region=NAME, or omit ?region to have it looked up",
)

_CLOCK = ("this machine's clock is wrong", "set the clock (request signatures contain the time)")

_FULL = (
    "no space left on the device; files already written are complete",
    "free some space, then rerun the command to resume",
)

_CHECK_PATH = "check the path"

_MISSING = ("there is no such file, folder or bucket", _CHECK_PATH)

_CHECK_STORE = "check the URI with its options, the credentials of the environment and the permissions in the bucket"

_CHECK_DISK = "check the path and its disk, then rerun the command to resume"

_ALLOW = "give this user permission there, or choose another path"

TORN_FIX = "restore the file from a copy, or rerun the command that wrote it"
"""Fix for a file that can be read and is not valid in its format. Readers that know the command replace it."""

FINAL: Mapping[str, tuple[str, str]] = {
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
    "NO_SUCH_KEY": ("", _CHECK_PATH),
    "RESOURCE_NOT_FOUND": ("", _CHECK_PATH),
    "NOT_FOUND": _MISSING,
    "VALIDATION": ("", _CHECK_STORE),
    "INVALID_ARGUMENT": ("", _CHECK_STORE),
    "INVALID_PARAMETER_VALUE": ("", _CHECK_STORE),
    "FAILED_PRECONDITION": ("", _CHECK_STORE),
    "INVALID_OBJECT_STATE": ("", "restore the object from its archive class"),
    "AuthenticationFailed": _AZURE_REFUSED,
    "AuthorizationFailure": _AZURE_REFUSED,
    "AuthorizationPermissionMismatch": _AZURE_REFUSED,
    "AuthorizationServiceMismatch": _AZURE_REFUSED,
    "AuthorizationResourceTypeMismatch": _AZURE_REFUSED,
    "InsufficientAccountPermissions": _AZURE_REFUSED,
    "InvalidAuthenticationInfo": _AZURE_REFUSED,
    "NoAuthenticationInformation": _AZURE_REFUSED,
    "InvalidAccessKey": _AZURE_REFUSED,
    "PermissionDenied": _AZURE_REFUSED,
    "Unauthenticated": _AZURE_REFUSED,
    "TokenRefused": _AZURE_REFUSED,
    "CredentialUnusable": _AZURE_REFUSED,
    "InvalidBlobType": ("", "delete the blob, which another program made as one of another type"),
    "ContainerNotFound": _NO_CONTAINER,
    "InvalidPath": ("", "rename it: a name has no control characters and no empty part between two slashes"),
    "BlobArchived": ("", "restore the blob from its archive tier"),
}
"""Errors of stores that no retry fixes, by code: reason and fix. Without a reason the store's own is used. The codes in
capitals are of S3 and Google Cloud Storage, the others of Azure.

All other errors (no connection, 5xx, slow down, throttling, unnamed errors) are transient.
"""

TRANSIENT = ("InvalidBlockList",)
"""Client errors that a retry fixes, by code. On Azure, another upload of a name discards the parts of this one."""

_CLIENT_ERROR = re.compile(r"HTTP (?:response code|status)[: ]+(?:400|401|403|404|405|411|412|413|414|416|501)\b")

_WRONG_KIND = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)

_EXHAUSTED_FIX = "check the network and the store's endpoint; rerun the command to resume when the store answers"

_GOOGLE = re.compile(r"google::cloud::Status\((\w+): (?:.*with a last message of )?(.*?) error_info=.*", re.DOTALL)

T = TypeVar("T")

Report = Callable[[str], None]

RETRY_SECONDS = 60.0
"""Retry time of interactive commands. Runs use `resources.storage_patience_minutes`."""

FIRST_BACKOFF, MAX_BACKOFF = 0.2, 10.0

NOTIFY_AFTER = 3.0
"""Shorter outages, in seconds, are not reported."""


@dataclass(frozen=True, slots=True)
class StoreError:
    """A classified error. `final` errors are not retried. `reason` is written to be the middle of a sentence.

    `fix` is an imperative without a full stop.
    """

    reason: str
    final: bool
    fix: str


def store_error_of(error: Exception) -> StoreError:
    """Classify an OSError or ArrowException of a remote or local file system."""
    if isinstance(error, RetriesExhaustedError):
        return StoreError(str(error), final=False, fix=_EXHAUSTED_FIX)
    original = _original_message(error)
    if isinstance(error, pa.ArrowException) and not isinstance(error, OSError):
        return StoreError(original, final=True, fix=TORN_FIX)  # the content is not a valid file of its format
    code = _code(error)
    if code is not None and code in FINAL:
        reason, fix = FINAL[code]
        return StoreError(f"{reason} ({original})" if reason else original, final=True, fix=fix)
    if isinstance(error, FileNotFoundError):
        return StoreError(_MISSING[0], final=True, fix=_MISSING[1])
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(_FULL[0], final=True, fix=_FULL[1])
    if isinstance(error, PermissionError) or (code not in TRANSIENT and _CLIENT_ERROR.search(str(error))):
        reason, fix = (os.strerror(number), _ALLOW) if number else (original, _CHECK_STORE)
        return StoreError(reason, final=True, fix=fix)
    if number is None:
        return StoreError(original, final=False, fix=TORN_FIX if code is None else _EXHAUSTED_FIX)
    reason = original if error.__class__ is OSError else os.strerror(number)
    fix = _ALLOW if number == errno.EROFS else _CHECK_PATH if number in _WRONG_KIND else _CHECK_DISK
    return StoreError(reason, final=False, fix=fix)


def explained(error: StoreError, redact: Callable[[str], str]) -> str:
    """The end of a message: the redacted reason, a full stop and the fix. The reason may contain a fix of its own."""
    reason = redact(error.reason)
    return f"{reason}." if " Fix: " in reason else f"{reason}. Fix: {error.fix}."


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return None if found is None else found[1]


def _original_message(error: Exception) -> str:
    return _GOOGLE.sub(r"\1: \2", str(error)).rstrip(".")


class RetriesExhaustedError(OSError):
    """The store did not answer before the retry time was over."""


class OutageState:
    """Start time of a store's current outage, shared by all threads that use the store.

    Reports the start and the end of an outage once each. `retry_seconds` is the total retry time shown in the report.
    It may differ from the policy of the thread that notices the outage, because some threads make one attempt only.
    """

    def __init__(self, report: Report | None = None, retry_seconds: float = RETRY_SECONDS) -> None:
        self._notify = report
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._since: float | None = None
        self._notified = False

    @property
    def since(self) -> float | None:
        """Start of the outage by `time.monotonic`; None while the store answers."""
        return self._since

    def record_failure(self, reason: str) -> float:
        """Record a failed attempt and return the start of the outage."""
        now = time.monotonic()
        with self._lock:
            if self._since is None:
                self._since = now
            since = self._since
            notify = not self._notified and now - since >= NOTIFY_AFTER
            self._notified = self._notified or notify
        if notify and self._notify is not None:
            began = datetime.fromtimestamp(time.time() - (now - since), UTC)
            self._notify(
                f"The store has not answered since {began:%H:%M:%S} UTC ({reason}). Nothing is lost: requests are "
                f"retried for up to {in_words(self._retry_seconds)}, and the work resumes when it answers."
            )
        return since

    def record_success(self) -> None:
        """Record an answer of the store (a success or a final error) and end the outage."""
        if self._since is None:
            return
        with self._lock:
            since, notified = self._since, self._notified
            self._since, self._notified = None, False
        if since is not None and notified and self._notify is not None:
            self._notify(f"The store answers again, after {in_words(time.monotonic() - since)}.")


@dataclass(frozen=True)
class RetryPolicy:
    """Total retry time of an operation in seconds; 0 means one attempt.

    A pickled copy keeps `seconds` and gets an outage state of its own, which reports to nobody.

    Example:
        >>> RetryPolicy(60).call(lambda: "done")
        'done'
    """

    seconds: float = RETRY_SECONDS
    outage: OutageState = field(default_factory=OutageState, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return RetryPolicy, (self.seconds,)

    def call(self, attempt: Callable[[], T]) -> T:
        """Call `attempt` and return its result; retry transient errors with exponential backoff.

        The retry time counts from the start of the outage, which another thread may have met first. A thread that
        arrives late in an outage does not wait the full time again.

        Raises:
            RetriesExhaustedError: the retry time is over.
            OSError, ArrowException: a final error, at once.
        """
        first_failure: float | None = None
        failures = 0
        while True:
            try:
                result = attempt()
            except (OSError, pa.ArrowException) as error:
                store_error = store_error_of(error)
                if store_error.final:
                    self.outage.record_success()
                    raise
                outage_since = self.outage.record_failure(store_error.reason)
                now = time.monotonic()
                first_failure = first_failure or now
                waited = now - min(first_failure, outage_since)
                failures += 1
                if waited >= self.seconds:
                    raise RetriesExhaustedError(_exhausted_message(store_error.reason, waited)) from error
                time.sleep(min(backoff(failures), self.seconds - waited))
            else:
                self.outage.record_success()
                return result


def backoff(failures: int) -> float:
    """Seconds before the next attempt. Exponential, with jitter so that clients don't retry in step."""
    longest: float = min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** min(failures, 10))
    return random.uniform(longest / 2, longest)


def in_words(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds >= 90 else f"{round(seconds)} seconds"


def _exhausted_message(reason: str, waited: float) -> str:
    if waited < 1:
        return reason
    return f"the store has not answered for {in_words(waited)} ({reason})"
