"""The bytes of a file wherever it is: this machine, a web server, the Hugging Face hub, an object store."""

import urllib.request
from http.client import HTTPException
from urllib.error import HTTPError, URLError

from safechain_ray.errors import InputError, StorageError
from safechain_ray.storage import read_uri, redact

DOWNLOAD_TIMEOUT = 60
"""Seconds without an answer after which a download is given up."""


def fetch(source: str) -> bytes:
    """The bytes of the file at a local path or a URI. Raises InputError with the reason and the fix."""
    scheme = source.partition("://")[0] if "://" in source else ""
    if scheme in ("http", "https"):
        return _download(source)
    if scheme == "hf":
        return _read_from_hub(source)
    try:
        return read_uri(source)
    except StorageError as error:
        raise InputError(f"The data set can't be read. {error}") from error


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT) as answer:
            return bytes(answer.read())
    except HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
    except URLError as error:
        reason = str(error.reason)
    except (OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
    raise InputError(
        f"Can't download {redact(url)}: {redact(reason)}. Check the address and the network, or download the file "
        "elsewhere and give its path with --dataset."
    )


def _read_from_hub(uri: str) -> bytes:
    from huggingface_hub import HfFileSystem
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return bytes(HfFileSystem().cat_file(uri))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise InputError(
            f"Can't read {redact(uri)} from the Hugging Face hub: {redact(str(error)) or type(error).__name__}. "
            "Check the path, log in with `hf auth login` if it is gated, or give a local copy with --dataset PATH."
        ) from error
