"""Reader of one data file, local or remote: CSV, TSV, JSON, JSON Lines or Parquet, optionally gzipped."""

import urllib.request
from collections.abc import Callable, Collection, Mapping
from functools import partial
from http.client import HTTPException
from importlib.resources import files
from pathlib import PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from safechain_ray.datasets.columnar import parse_parquet
from safechain_ray.datasets.json_files import parse_delimited, parse_json, parse_json_lines
from safechain_ray.datasets.records import BrokenFileError, Records
from safechain_ray.datasets.unpacking import unzipped
from safechain_ray.errors import InputError, StorageError
from safechain_ray.storage import read_uri, redact

DOWNLOAD_TIMEOUT = 60
"""Seconds without an answer before a download is aborted."""

Parser = Callable[[bytes, Collection[str] | None], tuple[tuple[str, ...], list[Mapping[str, object]]]]
"""Maps the bytes of a file and the wanted columns to all its columns and its rows. Raises BrokenFileError."""

_PARSERS: dict[str, Parser] = {
    ".csv": parse_delimited,
    ".tsv": partial(parse_delimited, delimiter="\t"),
    ".json": parse_json,
    ".jsonl": parse_json_lines,
    ".ndjson": parse_json_lines,
    ".parquet": parse_parquet,
}


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
        f"Can't download {redact(url)}: {redact(reason)}. Fix: check the address and the network, or download the file "
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
            "Fix: check the path, log in with `hf auth login` if it is gated, or give a local copy with --dataset PATH."
        ) from error


def read_file(source: str, wanted: Collection[str] | None = None) -> Records:
    """The records of the file at a local path or a URI (http, https, hf, s3, gs, file).

    With `wanted`, rows have only these columns, which saves memory for large files.

    Raises:
        InputError: the file can't be fetched or parsed, or has no rows.
    """
    return _parse(fetch(source), file_name(source), redact(source), wanted)


def read_package_file(path: str, wanted: Collection[str] | None = None) -> Records:
    """The records of a file in this package; `path` is relative to the package's folder."""
    shown = f"{PurePosixPath(path).name} of safechain_ray"
    return _parse((files("safechain_ray") / path).read_bytes(), path, shown, wanted)


def file_name(source: str) -> str:
    """The last component of a path or URI, without the query."""
    path = urlsplit(source).path if "://" in source else source
    return PurePosixPath(path).name


def has_known_suffix(source: str) -> bool:
    return _format(file_name(source)) in _PARSERS


def _parse(data: bytes, name: str, shown: str, wanted: Collection[str] | None) -> Records:
    parser = _PARSERS.get(_format(name))
    if parser is None:
        raise InputError(
            f"{shown} has no known format; its name must end in {', '.join(_PARSERS)} (or one of them .gz)."
        )
    try:
        columns, rows = parser(unzipped(data) if name.lower().endswith(".gz") else data, wanted)
    except BrokenFileError as error:
        raise InputError(error.of(shown)) from error
    if not rows:
        raise InputError(f"{shown} holds no rows.")
    return Records(columns, rows, shown)


def _format(name: str) -> str:
    """The suffix that names the format: `.csv` for `a.b.CSV.gz`."""
    return PurePosixPath(name.lower().removesuffix(".gz")).suffix
