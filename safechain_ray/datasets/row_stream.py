"""Rows of a data set in batches, so that a file larger than memory can be read.

1. A local file of JSON Lines (UTF-8), CSV, TSV or Parquet is read in pieces. Memory holds one batch.
2. Any other source is read whole, as prompts are: a JSON list, a compressed file, a URI, a set of the hub.

The rows can be read more than once, in the same order.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from safechain_ray.catalog.row_entries import RowsEntry
from safechain_ray.datasets.columnar import parquet_batches
from safechain_ray.datasets.files import file_name
from safechain_ray.datasets.json_files import json_lines_of, read_delimited
from safechain_ray.datasets.loading import read_records
from safechain_ray.datasets.records import ENCODINGS, SAVE_AS_UTF8, BrokenFileError, Records
from safechain_ray.errors import InputError
from safechain_ray.storage import redact

BATCH_ROWS = 128
"""Few, because a row may have a text of megabytes."""

DELIMITED = {".csv": ",", ".tsv": "\t"}

Batch = tuple[tuple[str, ...], list[Mapping[str, object]]]
"""Column names seen in a batch, and its rows."""


@dataclass(frozen=True)
class RowStream:
    """The rows of `entry` with the `wanted` columns.

    Example:
        for columns, rows in RowStream(entry, {"prompt", "response"}).batches(): ...
    """

    entry: RowsEntry
    wanted: frozenset[str]
    batch_rows: int = field(default=BATCH_ROWS)

    @property
    def source(self) -> str:
        """The origin without secrets, for messages."""
        return redact(self.entry.source) if self._file is not None else self._records.source

    def batches(self) -> Iterator[Batch]:
        """Each batch in order. Raises InputError for a source that can't be read, also after the first batches."""
        if self._file is None:
            records = self._records
            for start in range(0, len(records.rows), self.batch_rows):
                yield records.columns, list(records.rows[start : start + self.batch_rows])
            return
        try:
            yield from self._pieces(self._file)
        except BrokenFileError as error:
            raise InputError(error.of(self.source)) from error
        except UnicodeError:
            raise InputError(f"{self.source} is not UTF-8 text. {SAVE_AS_UTF8}.") from None
        except OSError as error:
            raise InputError(f"{self.source} can't be read: {error.strerror or error}. Fix: check the path.") from error

    def _pieces(self, file: Path) -> Iterator[Batch]:
        suffix = file.suffix.lower()
        if suffix == ".parquet":
            yield from parquet_batches(file, self.wanted, self.batch_rows)
        elif suffix in DELIMITED:
            with file.open(encoding="utf-8-sig", newline="") as text:
                columns, rows = read_delimited(text, self.wanted, DELIMITED[suffix])
                while batch := list(islice(rows, self.batch_rows)):
                    yield columns, batch
        else:
            with file.open("rb") as stream:
                yield from json_lines_of(stream, self.wanted, self.batch_rows)

    def column_names(self) -> tuple[str, ...]:
        """The names of all columns. Rows of JSON may omit a field, so that all of their rows are read."""
        batches = self.batches()
        if self._file is None or self._file.suffix.lower() in {".parquet", *DELIMITED}:
            return next(batches, ((), []))[0]
        return tuple(dict.fromkeys(column for columns, _ in batches for column in columns))

    @cached_property
    def _file(self) -> Path | None:
        """The local file to read in pieces; None for a source that is read whole."""
        if self.entry.kind != "file" or "://" in self.entry.source:
            return None
        file = Path(self.entry.source).expanduser()
        suffix = Path(file_name(self.entry.source)).suffix.lower()
        if suffix not in {".parquet", ".jsonl", ".ndjson", *DELIMITED} or not file.is_file():
            return None
        if suffix == ".parquet":
            return file
        with file.open("rb") as stream:
            start = stream.read(64)
        is_other_text = any(start.startswith(mark) for mark, _ in ENCODINGS)
        is_list = suffix not in DELIMITED and start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
        return None if is_other_text or is_list else file

    @cached_property
    def _records(self) -> Records:
        return read_records(self.entry, self.wanted)
