"""Errors of obstore as OSErrors with Azure's code, which `retry.py` classifies as final or transient.

obstore's errors are no OSErrors. A missing container looks like a missing file, and 503 like a wrong region. Their text
quotes the whole request, so it is not chained.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PreconditionError

_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<\n]+)")
_STATUS = re.compile(r"status code: (\d{3})|\(code: (\d{3})\)")
_KIND = re.compile(r"HttpError \{\s*kind: (Timeout)")
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"')
_SECONDS = re.compile(r" in (\d+)\.\d+s - ")
"""Duration of a request of a second or longer. Errors of an upload have no other sign of a timeout."""

_UNUSABLE = re.compile(r"(?i)azure cli|az login|federated token file|failed to parse \S+ as|sas query pair")
"""Texts of obstore about a login or a credential that no retry makes usable."""

_TOKEN_REFUSED = ("400", "401", "403")
_REFUSED = ("401", "403")


@contextmanager
def as_os_errors(precondition: OSError | None = None) -> Iterator[None]:
    """Translate obstore's errors. They are not chained, because they quote whole requests."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if precondition is not None and isinstance(error, PreconditionError):
            raise precondition from None
        raise azure_error(error) from None


def azure_error(error: Exception) -> OSError:
    """The OSError of an error of obstore: `Azure Error CODE (HTTP status N): message`."""
    text, _, details = str(error).partition("\n\nDebug source")
    status = next((found[1] or found[2] for found in _STATUS.finditer(text)), "")
    code = _code(error, text, status)
    if isinstance(error, FileNotFoundError) and code != "ContainerNotFound":
        return FileNotFoundError(errno.ENOENT, "there is no such blob")
    message = _MESSAGE.search(text)
    shown = message[1] if message else text.rpartition(" - ")[2].strip().rstrip(":")
    shown += _cause(text, details)
    if code == "TokenRequest":
        shown = f"no credentials in the environment, and no token from the identity service ({shown})"
    return OSError(f"Azure Error {code}{f' (HTTP status {status})' if status else ''}: {shown}")


def _cause(text: str, details: str) -> str:
    if cause := _CAUSE.search(details) or _KIND.search(details):
        return f": {cause[1]}"
    seconds = _SECONDS.search(text)
    return f": no answer in {seconds[1]} s" if seconds else ""


def _code(error: Exception, text: str, status: str) -> str:
    """Azure's code; a code of this project where Azure sends none (answers to HEAD, invalid names, no connection)."""
    if "container does not exist" in text:
        return "ContainerNotFound"
    if isinstance(error, ValueError) or "contained empty path segment" in text:
        return "InvalidPath"
    if "Invalid Access Key" in text:
        return "InvalidAccessKey"
    if not status and _UNUSABLE.search(text):
        return "CredentialUnusable"
    if "token request" in text:
        return "TokenRefused" if status in _TOKEN_REFUSED else "TokenRequest"
    found = _CODE.search(text)
    if found:
        return found[1]
    if not status and "HTTP error" in text:
        return "NoAnswer"
    if status in _REFUSED:  # also for one blob of a deletion in bulk
        return "PermissionDenied"
    return type(error).__name__.removesuffix("Error") if isinstance(error, BaseError) else "Generic"
