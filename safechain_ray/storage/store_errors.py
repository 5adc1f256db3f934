"""What an error of a file system or a store means: why, whether trying again may fix it, and what to do."""

import errno
import os
import re
from dataclasses import dataclass

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
class Trouble:
    """`final` where trying again can't help. `reason` is the middle of a sentence."""

    reason: str
    final: bool


def trouble_of(error: Exception) -> Trouble:
    """What an OSError or an ArrowException of a remote or local file system means."""
    if isinstance(error, pa.ArrowException) and not isinstance(error, OSError):
        return Trouble(_own_words(error), final=True)  # what was read is no whole file of its kind
    code = _code(error)
    if code in FINAL:
        fix = FINAL[code]
        return Trouble(f"{fix} ({_own_words(error)})" if fix else _own_words(error), final=True)
    if isinstance(error, FileNotFoundError):
        return Trouble(_MISSING, final=True)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return Trouble(_FULL, final=True)
    if isinstance(error, PermissionError) or _CLIENT_ERROR.search(str(error)):
        return Trouble(os.strerror(number) if number else _own_words(error), final=True)
    if number is not None and error.__class__ is not OSError:
        return Trouble(os.strerror(number), final=False)
    return Trouble(_own_words(error), final=False)


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return None if found is None else found[1] or found[2]


def _own_words(error: Exception) -> str:
    return _GOOGLE.sub(r"\1: \2", str(error)).rstrip(".")
