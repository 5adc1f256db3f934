"""Parsers of text tables: JSON (a list of objects or JSON Lines, detected from the content), CSV and TSV.

CSV values stay text as written: an id of `007` is no number and a prompt of `NA` is no null.
"""

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from safechain_ray.datasets.records import (
    SAVE_AS_UTF8,
    BrokenFileError,
    BrokenText,
    check_no_nul,
    not_text,
    text_lines,
)

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

Rows = tuple[tuple[str, ...], list[Mapping[str, object]]]

BATCH_BYTES = 2**24
"""Bytes of JSON Lines after which a batch ends."""

FIELD_LIMIT = 2**31 - 1
"""Most characters of a CSV field. Python's default of 131,072 would refuse long-context prompts."""

DELIMITERS = {",": ",", ";": ";", "\t": "tabs", "|": "|"}

SEPARATOR_LINE = "sep="
"""Prefix of Excel's first line, which names the delimiter."""


class _RepeatingObject(dict[str, object]):
    """A JSON object with a duplicate key, for which Python keeps the last value."""

    repeated: frozenset[str] = frozenset()


def parse_json_lines(data: bytes, wanted: Collection[str] | None) -> Rows:
    """The columns and rows of JSON Lines, or of a JSON list, with the `wanted` fields. Raises BrokenFileError."""
    if _first_character(data) == "[":
        return parse_json(data, wanted)
    return _rows(_lines(data), wanted)


def parse_json(data: bytes, wanted: Collection[str] | None, field: str | None = None) -> Rows:
    """The columns and rows of a JSON list of objects, or of JSON Lines, with the `wanted` fields.

    `field` is the key of the list if the file is an object that contains it.

    Raises:
        BrokenFileError: no JSON, no list of objects, or a repeated key.
    """
    try:
        text = text_lines(data).read()
    except UnicodeError:
        raise not_text(data) from None
    try:
        items = _loaded(text)
    except json.JSONDecodeError as error:
        if field is None and error.msg == "Extra data" and text.lstrip().startswith("{"):
            del text
            return _rows(_lines(data), wanted)
        raise _not_json("it", error) from error
    except (ValueError, RecursionError) as error:
        raise _not_json("it", error) from error
    if field is not None and isinstance(items, dict):
        items = items.get(field)
    if not isinstance(items, list):
        raise BrokenFileError(_no_list(items))
    return _rows(((f"item {number}", item) for number, item in enumerate(items, start=1)), wanted)


def _lines(data: bytes) -> Iterator[tuple[str, object]]:
    try:
        for number, line in enumerate(text_lines(data, newline="\n"), start=1):
            yield from _line(line, number)
    except UnicodeError:
        raise not_text(data) from None


def json_lines_of(stream: IO[bytes], wanted: Collection[str] | None, batch_rows: int) -> Iterator[Rows]:
    """The columns and rows of JSON Lines in UTF-8, in batches of up to `batch_rows` and some megabytes.

    Raises BrokenFileError.
    """
    batch: list[tuple[int, bytes]] = []
    size = 0
    for number, line in enumerate(stream, start=1):
        batch.append((number, line))
        size += len(line)
        if len(batch) == batch_rows or size >= BATCH_BYTES:
            yield _rows(_items(batch), wanted)
            batch, size = [], 0
    yield _rows(_items(batch), wanted)


def _items(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[str, object]]:
    for number, line in lines:
        yield from _line(_decoded_line(line, number), number)


def _decoded_line(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise BrokenFileError(f"line {number} is not UTF-8 text. {SAVE_AS_UTF8}") from None


def _line(line: str, number: int) -> Iterator[tuple[str, object]]:
    if not line.strip():
        return
    if number == 1:
        check_no_nul(line)
    position = f"line {number}"
    try:
        yield position, _loaded(line)
    except (ValueError, RecursionError) as error:
        raise _not_json(position, error) from error


def _rows(items: Iterator[tuple[str, object]], wanted: Collection[str] | None) -> Rows:
    columns: dict[str, None] = {}
    rows: list[Mapping[str, object]] = []
    for position, item in items:
        if not isinstance(item, dict):
            raise BrokenFileError(
                f"{position} is not an object with named fields. Fix: write each row as an object, for example "
                '{"prompt": "..."}'
            )
        if isinstance(item, _RepeatingObject):
            twice = sorted(name for name in item.repeated if wanted is None or name in wanted)
            if twice:
                raise BrokenFileError(f"{position} has the key {', '.join(map(repr, twice))} more than once")
        row = {str(_readable(name)): value for name, value in item.items()}
        columns.update(dict.fromkeys(row))
        rows.append({name: _readable(value) for name, value in row.items() if wanted is None or name in wanted})
    return tuple(columns), rows


def _readable(value: object) -> object:
    """The value, or BrokenText for half of a surrogate pair: JSON can contain it, but no tokenizer or table can."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text.encode("utf-8")
    except UnicodeEncodeError:
        readable = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return BrokenText(readable, "holds half of a surrogate pair, which is no text")
    return value


def _loaded(text: str) -> object:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeating = _RepeatingObject(found)
    repeating.repeated = frozenset(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return repeating


def _not_json(position: str, error: Exception) -> BrokenFileError:
    return BrokenFileError(f"{position} is not JSON ({error})")


def _no_list(items: object) -> str:
    complaint = "it is not a list of objects"
    lists = [name for name, value in items.items() if isinstance(value, list)] if isinstance(items, dict) else []
    if lists:
        keys = " or ".join(repr(name) for name in lists)
        return f"{complaint}: the key {keys} holds a list. Fix: save that list alone as the file"
    return f"{complaint}. Fix: save the rows as a list, or as one object per line in a .jsonl file"


def _first_character(data: bytes) -> str:
    try:
        return text_lines(data).read(64).lstrip()[:1]
    except UnicodeError:
        raise not_text(data) from None


def parse_delimited(
    data: bytes, wanted: Collection[str] | None, delimiter: str = ",", encoding: str | None = None
) -> tuple[tuple[str, ...], list[Mapping[str, object]]]:
    """The columns of the header, and the rows with the `wanted` columns.

    Blank lines, trailing columns without a name, and trailing rows without a value are ignored: spreadsheets write
    them.

    Raises:
        BrokenFileError: the file can't be decoded or parsed.
    """
    with text_lines(data, encoding) as text:
        try:
            columns, rows = read_delimited(text, wanted, delimiter)
            return columns, list(rows)
        except UnicodeError:
            raise not_text(data, encoding) from None


def read_delimited(
    text: IO[str], wanted: Collection[str] | None, delimiter: str = ","
) -> tuple[tuple[str, ...], Iterator[Mapping[str, object]]]:
    """The columns of the header, and an iterator of the rows. Both raise BrokenFileError, and UnicodeError."""
    start = text.readline().strip("\r\n")
    skipped = int(start.startswith(SEPARATOR_LINE) and start[len(SEPARATOR_LINE) :] in DELIMITERS)
    if skipped:
        delimiter = start[-1]
    else:
        text.seek(0)
    lines = csv.reader(text, delimiter=delimiter, strict=True)
    with _long_fields(), _csv_errors(1, lines, skipped):
        header = _header(next(lines, []), wanted, delimiter)
    return tuple(header), _delimited_rows(lines, header, wanted, skipped)


def _delimited_rows(
    lines: "CsvReader", header: Sequence[str], wanted: Collection[str] | None, skipped_lines: int
) -> Iterator[Mapping[str, object]]:
    """The rows below the header, without trailing rows that are empty."""
    empty: list[Mapping[str, object]] = []
    number = 1
    while True:
        with _long_fields(), _csv_errors(number, lines, skipped_lines):
            fields = next(lines, None)
        if fields is None:
            return
        if not fields:
            continue
        if len(fields) < len(header) or any(fields[len(header) :]):
            raise BrokenFileError(
                f"row {number} (ending at line {lines.line_num + skipped_lines}) has {len(fields)} fields, "
                f"the header has {len(header)}. Fix: correct the row, and quote values that contain the separator"
            )
        number += 1
        empty.append(_filter_columns(dict(zip(header, fields, strict=False)), wanted))
        if any(fields):
            yield from empty
            empty = []


@contextmanager
def _csv_errors(row: int, lines: "CsvReader", skipped_lines: int) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise BrokenFileError(f"row {row} (line {lines.line_num + skipped_lines}): {error}") from error


def _header(fields: Sequence[str], wanted: Collection[str] | None, delimiter: str) -> list[str]:
    header = list(fields)
    while header and not header[-1]:
        header.pop()
    check_no_nul("".join(header))
    repeated = [name for name, times in Counter(header).items() if times > 1]
    if repeated:
        names = ", ".join(repeated) or "none"
        raise BrokenFileError(f"two columns have the same name in its header ({names}). Fix: rename one of them")
    if len(header) == 1 and header[0] not in (wanted or ()):
        _check_delimiter(header[0], delimiter)
    return header


def _check_delimiter(header: str, delimiter: str) -> None:
    other = next((other for other in DELIMITERS if other != delimiter and other in header), None)
    if other is not None:
        raise BrokenFileError(
            f"its columns are separated by {DELIMITERS[other]} and not by {DELIMITERS.get(delimiter, delimiter)} (its "
            f"first line is {header[:80]!r}). Fix: save it as CSV with commas, or put a line `sep={other}` before the "
            "header"
        )


@contextmanager
def _long_fields() -> Iterator[None]:
    """Raise the field limit of `csv` for a block. The limit is global to the process, so it is restored."""
    before = csv.field_size_limit(FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _filter_columns(row: Mapping[str, object], wanted: Collection[str] | None) -> Mapping[str, object]:
    return row if wanted is None else {name: value for name, value in row.items() if name in wanted}
