"""Read CSV and TSV. Values stay text as written: an id of `007` or a prompt of `NA` is no number and no null."""

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from safechain_ray.datasets.text_files import BrokenFileError, check_no_nul, not_text, text_lines

FIELD_LIMIT = 2**31 - 1
"""Most characters of a field; Python's own limit of 131,072 refuses long-context prompts."""

DELIMITERS = {",": ",", ";": ";", "\t": "tabs", "|": "|"}

SEPARATOR_LINE = "sep="
"""Excel's first line, which names the delimiter."""


def parse_delimited(
    data: bytes, wanted: Collection[str] | None, delimiter: str = ",", encoding: str | None = None
) -> tuple[tuple[str, ...], list[Mapping[str, object]]]:
    """The columns of the header, and the rows with the `wanted` ones of them. Raises BrokenFileError.

    Blank lines, columns without a name at the end, and rows without a value at the end are what spreadsheets leave
    behind: they are ignored.
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
                    f"the header has {len(header)}"
                )
            empty_rows = 0 if any(fields) else empty_rows + 1
            rows.append(_only(dict(zip(header, fields, strict=False)), wanted))
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
        raise BrokenFileError(f"two columns have the same name in its header ({', '.join(repeated) or 'none'})")
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
    """The limit belongs to the process, so that it is put back for other users of `csv`."""
    before = csv.field_size_limit(FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _only(row: Mapping[str, object], wanted: Collection[str] | None) -> Mapping[str, object]:
    return row if wanted is None else {name: value for name, value in row.items() if name in wanted}
