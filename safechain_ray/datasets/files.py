"""Read one file of records: CSV, TSV, JSON, JSON Lines or Parquet, gzipped or not.

Values of CSV and TSV stay text as written: an id of `007` or a prompt of `NA` is no number and no null.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from safechain_ray.datasets.fetching import fetch
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError
from safechain_ray.schema.plain_columns import plain_columns
from safechain_ray.storage import redact


class _BrokenFileError(Exception):
    """What is wrong inside a file; the caller knows which file."""


def read_file(source: str, wanted: Collection[str] | None = None) -> Records:
    """The records of the file at a local path or a URI (http, https, hf, s3, gs, file).

    Rows have only the `wanted` columns, where some are named: those of a large file take less memory so. Raises
    InputError.
    """
    return _parse(fetch(source), file_name(source), redact(source), wanted)


def read_package_file(path: str) -> Records:
    """The records of a file that comes with this package; `path` counts from the package's folder."""
    return _parse((files("safechain_ray") / path).read_bytes(), path, f"{PurePosixPath(path).name} of safechain_ray")


def file_name(source: str) -> str:
    """The last piece of a path or a URI, without the query."""
    path = urlsplit(source).path if "://" in source else source
    return PurePosixPath(path).name


def has_known_suffix(source: str) -> bool:
    return _format(file_name(source)) in _PARSERS


def _parse(data: bytes, name: str, shown: str, wanted: Collection[str] | None = None) -> Records:
    parser = _PARSERS.get(_format(name))
    if parser is None:
        raise InputError(
            f"{shown} has no known format; its name must end in {', '.join(_PARSERS)} (or one of them .gz)."
        )
    try:
        columns, rows = parser(_unzipped(data) if name.lower().endswith(".gz") else data, wanted)
    except _BrokenFileError as error:
        raise InputError(f"{shown} is broken: {error}.") from error
    if not rows:
        raise InputError(f"{shown} holds no rows.")
    return Records(columns, rows, shown)


def _format(name: str) -> str:
    """The suffix that tells the format: `.csv` of `a.b.CSV.gz`."""
    return PurePosixPath(name.lower().removesuffix(".gz")).suffix


def _unzipped(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _BrokenFileError(f"it can't be unzipped ({error})") from error


_Table = tuple[tuple[str, ...], Sequence[Mapping[str, object]]]
_Wanted = Collection[str] | None
_Parser = Callable[[bytes, _Wanted], _Table]


def _parse_delimited(delimiter: str) -> _Parser:
    def parse(data: bytes, wanted: _Wanted) -> _Table:
        # Decoded bit by bit: as one text a large file takes up to four times its size.
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
        lines = csv.reader(text, delimiter=delimiter, strict=True)
        rows: list[Mapping[str, object]] = []
        try:
            header = next(lines, [])
            if len(set(header)) < len(header):
                raise _BrokenFileError("two columns have the same name in its header")
            for fields in lines:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise _BrokenFileError(
                        f"row {len(rows) + 1} (ending at line {lines.line_num}) has {len(fields)} fields, "
                        f"the header has {len(header)}"
                    )
                rows.append(_only(dict(zip(header, fields, strict=True)), wanted))
        except csv.Error as error:
            raise _BrokenFileError(f"row {len(rows) + 1} (line {lines.line_num}): {error}") from error
        except UnicodeDecodeError:
            _decoded(data)  # knows the line
            raise
        return tuple(header), rows

    return parse


def _parse_json_lines(data: bytes, wanted: _Wanted) -> _Table:
    rows = []
    for number, line in enumerate(_decoded(data).split("\n"), start=1):
        if line.strip():
            rows.append(_json_object(_loaded(line, f"line {number}"), f"line {number}"))
    return _columns_of(rows), [_only(row, wanted) for row in rows]


def _parse_json(data: bytes, wanted: _Wanted) -> _Table:
    items = _loaded(_decoded(data), "it")
    if not isinstance(items, list):
        raise _BrokenFileError("it is not a list of objects; one object a line is called .jsonl")
    rows = [_json_object(item, f"item {number}") for number, item in enumerate(items, start=1)]
    return _columns_of(rows), [_only(row, wanted) for row in rows]


def _parse_parquet(data: bytes, wanted: _Wanted) -> _Table:
    try:
        table = plain_columns(pq.read_table(pa.BufferReader(data)))
        columns = tuple(table.column_names)
        return columns, table.select([name for name in columns if wanted is None or name in wanted]).to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _BrokenFileError(f"it is no whole Parquet file ({error})") from error


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _BrokenFileError(f"line {line} is not UTF-8 text") from error


def _loaded(text: str, place: str) -> object:
    try:
        value = json.loads(text)
        # Half of a surrogate pair may be written in JSON, but is no text that could be tokenized or stored.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _BrokenFileError(f"{place} holds half of a surrogate pair, which is no text") from error
    except (ValueError, RecursionError) as error:
        raise _BrokenFileError(f"{place} is not JSON ({error})") from error
    return value


def _json_object(value: object, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _BrokenFileError(f"{place} is not an object with named fields")
    return value


def _only(row: Mapping[str, object], wanted: _Wanted) -> Mapping[str, object]:
    return row if wanted is None else {name: value for name, value in row.items() if name in wanted}


def _columns_of(rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Every field that some row has, in the order of first sight."""
    return tuple(dict.fromkeys(key for row in rows for key in row))


_PARSERS: dict[str, _Parser] = {
    ".csv": _parse_delimited(","),
    ".tsv": _parse_delimited("\t"),
    ".json": _parse_json,
    ".jsonl": _parse_json_lines,
    ".parquet": _parse_parquet,
}
