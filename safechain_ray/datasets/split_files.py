"""The data files of one split: reading them, and caching their paths so that the set can be loaded offline."""

import contextlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from safechain_ray.datasets.columnar import parse_parquet, with_class_names
from safechain_ray.datasets.json_files import parse_delimited, parse_json, parse_json_lines
from safechain_ray.datasets.records import BrokenFileError, Records
from safechain_ray.datasets.unpacking import unzipped
from safechain_ray.errors import InputError
from safechain_ray.types import short_hash

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
                raise InputError(f"{file.name} of {shown} is broken: {error}.") from error
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


def _check_columns(columns_of: Mapping[str, Collection[str]], expected: Collection[str], shown: str) -> None:
    for file, columns in columns_of.items():
        there = set(columns)
        missing = [name for name in expected if name not in there]
        if missing:
            raise InputError(
                f"{file} of {shown} has no column {', '.join(missing)}, which another file of the split has. Fix: "
                "give all files the same columns, or name one file."
            )


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


def _note(cache: Path, *key: object) -> Path:
    return cache / "safechain-ray" / f"{short_hash(*map(repr, key))}.json"
