"""Readers of data files, local or remote: one file, or the files of a split, in CSV, TSV, JSON, JSON Lines or Parquet.

The paths of a split's downloaded files are cached, so that the set can be loaded offline.
"""

import contextlib
import json
import os
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from safechain_ray.datasets.columnar import parse_parquet, with_class_names
from safechain_ray.datasets.json_files import parse_delimited, parse_json, parse_json_lines
from safechain_ray.datasets.records import BrokenFileError, Records
from safechain_ray.datasets.unpacking import unzipped
from safechain_ray.errors import InputError, StorageError
from safechain_ray.storage import read_uri, redact
from safechain_ray.types import short_hash

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

FileFormat = Literal["csv", "json", "parquet"]


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """Local files of a split in their order. `class_names` are declared by the set's card."""

    split: str
    format: FileFormat
    files: tuple[str, ...]
    delimiter: str = ","
    encoding: str | None = None
    list_field: str | None = None
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def read(self, shown: str, wanted: Collection[str] | None) -> Records:
        """The records of all files, concatenated.

        Raises:
            InputError: a file is broken, or a table lacks a wanted column that another table has.
        """
        columns: dict[str, None] = {}
        rows: list[Mapping[str, object]] = []
        columns_of: dict[str, tuple[str, ...]] = {}
        for file in map(Path, self.files):
            try:
                found, more = self._rows(file, wanted)
            except BrokenFileError as error:
                raise InputError(error.of(f"{file.name} of {shown}")) from error
            except OSError as error:
                raise InputError(
                    f"{file.name} of {shown} can't be read: {error}. Fix: check its permissions and its disk."
                ) from error
            columns.update(dict.fromkeys(found))
            rows += more
            columns_of[file.name] = found
        if self.format != "json":  # a JSON object may omit a field
            _check_columns(columns_of, [name for name in columns if wanted is None or name in wanted], shown)
        return Records(tuple(columns), rows, shown)

    def _rows(self, file: Path, wanted: Collection[str] | None) -> tuple[tuple[str, ...], list[Mapping[str, object]]]:
        if self.format == "parquet":
            return parse_parquet(file, wanted, self.class_names)
        data = unzipped(file.read_bytes()) if file.name.lower().endswith(".gz") else file.read_bytes()
        if self.format == "csv":
            columns, rows = parse_delimited(data, wanted, self.delimiter, self.encoding)
        elif self.list_field is not None:
            columns, rows = parse_json(data, wanted, self.list_field)
        else:
            columns, rows = parse_json_lines(data, wanted)
        return columns, with_class_names(rows, self.class_names)


COPY_OF_ADDRESS = "give the path of a local copy in place of its address."
"""The last-resort fix for a file that is not in the catalog."""


def read_file(source: str, wanted: Collection[str] | None = None, local_copy: str = COPY_OF_ADDRESS) -> Records:
    """The records of the file at a local path or a URI (http, https, hf, s3, gs, file).

    With `wanted`, rows have only these columns, which saves memory for large files. `local_copy` ends the fix of a
    download that fails.

    Raises:
        InputError: the file can't be fetched or parsed, or has no rows.
    """
    return _parse(fetch(source, local_copy), file_name(source), redact(source), wanted)


def read_package_file(path: str, wanted: Collection[str] | None = None) -> Records:
    """The records of a file in this package; `path` is relative to the package's folder."""
    return _parse((files("safechain_ray") / path).read_bytes(), path, shown_package_file(path), wanted)


def shown_package_file(path: str) -> str:
    """The source that a run notes for a file in this package."""
    return f"{PurePosixPath(path).name} of safechain_ray"


def fetch(source: str, local_copy: str = COPY_OF_ADDRESS) -> bytes:
    """The bytes of the file at a local path or a URI. Raises InputError with the reason and the fix."""
    scheme = source.partition("://")[0] if "://" in source else ""
    if scheme in ("http", "https"):
        return _download(source, local_copy)
    if scheme == "hf":
        return _read_from_hub(source, local_copy)
    try:
        return read_uri(source)
    except StorageError as error:
        raise InputError(str(error)) from error


def file_name(source: str) -> str:
    """The last component of a path or URI, without the query."""
    path = urlsplit(source).path if "://" in source else source
    return PurePosixPath(path).name


def has_known_suffix(source: str) -> bool:
    return _format(file_name(source)) in _PARSERS


def remember(files: SplitFiles, cache: Path, *key: object) -> None:
    """Record the paths of a split's downloaded files in the hub's cache folder. A read-only cache is no error."""
    relative = asdict(files) | {"files": [os.path.relpath(file, cache) for file in files.files]}
    with contextlib.suppress(OSError):
        note = _note(cache, *key)
        note.parent.mkdir(parents=True, exist_ok=True)
        partial_note = note.with_suffix(f".{os.getpid()}.tmp")
        partial_note.write_text(json.dumps(relative), encoding="utf-8")
        partial_note.replace(note)


def remembered(cache: Path, *key: object) -> SplitFiles | None:
    """The files recorded by `remember` under the same key, if all of them still exist."""
    try:
        stored = json.loads(_note(cache, *key).read_text(encoding="utf-8"))
        stored["files"] = tuple(os.path.normpath(cache / file) for file in stored["files"])
        found = SplitFiles(**stored)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if all(map(os.path.exists, found.files)) else None


def _download(url: str, local_copy: str) -> bytes:
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
        f"Can't download {redact(url)}: {redact(reason)}. Fix: check the address and the network, or {local_copy}"
    )


def _read_from_hub(uri: str, local_copy: str) -> bytes:
    from huggingface_hub import HfFileSystem
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return bytes(HfFileSystem().cat_file(uri))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise InputError(
            f"Can't read {redact(uri)} from the Hugging Face hub: {redact(str(error)) or type(error).__name__}. "
            f"Fix: check the path, log in with `hf auth login` if it is gated, or {local_copy}"
        ) from error


def _parse(data: bytes, name: str, shown: str, wanted: Collection[str] | None) -> Records:
    parser = _PARSERS.get(_format(name))
    if parser is None:
        raise InputError(
            f"{shown} has no known format. Fix: save it as CSV, or give a file whose name ends in "
            f"{', '.join(_PARSERS)} (or one of them and .gz)."
        )
    try:
        columns, rows = parser(unzipped(data) if name.lower().endswith(".gz") else data, wanted)
    except BrokenFileError as error:
        raise InputError(error.of(shown)) from error
    if not rows:
        raise InputError(f"{shown} holds no rows. Fix: check the file, or give another one.")
    return Records(columns, rows, shown)


def _format(name: str) -> str:
    """The suffix that names the format: `.csv` for `a.b.CSV.gz`."""
    return PurePosixPath(name.lower().removesuffix(".gz")).suffix


def _check_columns(columns_of: Mapping[str, Collection[str]], expected: Collection[str], shown: str) -> None:
    for file, columns in columns_of.items():
        there = set(columns)
        missing = [name for name in expected if name not in there]
        if missing:
            raise InputError(
                f"{file} of {shown} has no column {', '.join(missing)}, which another file of the split has. Fix: "
                "give all files the same columns, or name one file."
            )


def _note(cache: Path, *key: object) -> Path:
    return cache / "safechain-ray" / f"{short_hash(*map(repr, key))}.json"
