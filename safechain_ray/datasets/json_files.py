"""Parsers of text tables: JSON (a list of objects or JSON Lines, detected from the content), CSV and TSV.

CSV values stay text as written: an id of `007` is no number and a prompt of `NA` is no null.
"""

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from safechain_ray.datasets.records import BrokenFileError, BrokenText, check_no_nul, not_text, text_lines

Rows = tuple[tuple[str, ...], list[Mapping[str, object]]]

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
            raise BrokenFileError(f"{position} is not an object with named fields")
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
    with text_lines(data, encoding) as text, _long_fields():
        try:
            start = text.readline().strip("\r\n")
            if start.startswith(SEPARATOR_LINE) and start[len(SEPARATOR_LINE) :] in DELIMITERS:
                return _parse(text, wanted, start[-1], 1)
            text.seek(0)
            return _parse(text, wanted, delimiter, 0)
        except UnicodeError:
            raise not_text(data, encoding) from None


def _parse(
    text: Iterable[str], wanted: Collection[str] | None, delimiter: str, skipped_lines: int
) -> tuple[tuple[str, ...], list[Mapping[str, object]]]:
    lines = csv.reader(text, delimiter=delimiter, strict=True)
    rows: list[Mapping[str, object]] = []
    empty_rows = 0
    try:
        header = _header(next(lines, []), wanted, delimiter)
        for fields in lines:
            if not fields:
                continue
            number = len(rows) + 1
            if len(fields) < len(header) or any(fields[len(header) :]):
                raise BrokenFileError(
                    f"row {number} (ending at line {lines.line_num + skipped_lines}) has {len(fields)} fields, "
                    f"the header has {len(header)}. Fix: correct the row, and quote values that contain the separator"
                )
            empty_rows = 0 if any(fields) else empty_rows + 1
            rows.append(_filter_columns(dict(zip(header, fields, strict=False)), wanted))
    except csv.Error as error:
        raise BrokenFileError(f"row {len(rows) + 1} (line {lines.line_num + skipped_lines}): {error}") from error
    return tuple(header), rows[: len(rows) - empty_rows]


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
