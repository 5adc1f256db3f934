"""The rows of a data set as they were found, before any of them becomes a prompt.

Decode the text of a data file: UTF-8, or UTF-16 and UTF-32 by their byte order mark.
"""

import codecs
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from safechain_ray.errors import InputError


@dataclass(frozen=True, slots=True)
class BrokenText:
    """An invalid text: half of a surrogate pair, or bytes that are not UTF-8.

    Only its row is bad. Converted to text, the value has U+FFFD in place of the invalid part.
    """

    readable: str
    problem: str

    def __str__(self) -> str:
        return self.readable


@dataclass(frozen=True, slots=True)
class Records:
    """`rows` in their order, each with the `columns` that it has; `source` says in words where they come from."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, object]]
    source: str

    def check_column(self, column: str, fix: str) -> None:
        """Raises InputError with the nearest column there is, then `fix`, where no row has `column`."""
        if column in self.columns:
            return
        near = get_close_matches(column, self.columns, n=1, cutoff=0.4)
        offer = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"{self.source} has no column {column!r}.{offer} Its columns: {', '.join(self.columns)}. {fix}"
        )


def as_text(value: object) -> str:
    """An id, a category or a label as text; empty for a missing one.

    A table library stores integers beside a missing value as floats: 1.0 is the integer 1, and NaN is missing.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def text_problem(value: object, kind: str) -> str | None:
    """Why `value` is not the text that a row needs as its `kind`; None for a text that is not blank."""
    if isinstance(value, BrokenText):
        return f"the {kind} {value.problem}"
    if value is not None and not isinstance(value, str):
        return f"the {kind} is no text but a value of type {type(value).__name__}"
    if value is None or not value.strip():
        return f"the {kind} is empty"
    return None


ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

"""Longest mark first: UTF-32's little-endian mark starts with UTF-16's."""

SAVE_AS_UTF8 = "Fix: save the file as UTF-8"

NUL_BYTES = f"its first line holds NUL bytes, as UTF-16 without a byte order mark does. {SAVE_AS_UTF8}"


class BrokenFileError(Exception):
    """What is wrong inside a file, with a fix where there is one; the caller adds the file's name."""

    def of(self, file: str) -> str:
        """The sentence about this file."""
        return f"{file} is broken: {self}."


class TooLargeError(BrokenFileError):
    """The file may be whole, but takes too much to read, or may do so; the text is a predicate."""

    def of(self, file: str) -> str:
        return f"{file} {self}."


def text_lines(data: bytes, encoding: str | None = None, newline: str = "") -> io.TextIOWrapper:
    """The decoded text of `data`, line ends as written; with `newline` a line ends there and nowhere else.

    The text is decoded piece by piece: as one string a large file takes up to four times its size. Reading raises
    UnicodeError for other text, which `not_text` explains.
    """
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding or _encoding(data), newline=newline)


def not_text(data: bytes, encoding: str | None = None) -> BrokenFileError:
    """The error for `data` that `text_lines` can't decode: its line, and the encoding that it looks like."""
    named = encoding or _encoding(data)
    if data.startswith(b"PK\x03\x04"):
        return BrokenFileError("it is an Excel workbook or a zip archive. Fix: save it as CSV in UTF-8")
    if named != "utf-8-sig":
        return BrokenFileError(f"it has a byte order mark, but is not {named.upper()} text. {SAVE_AS_UTF8}")
    if b"\0" in data.partition(b"\n")[0]:
        return BrokenFileError(NUL_BYTES)
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return BrokenFileError(f"line {line} is not UTF-8 text{_looks_like(data)}. {SAVE_AS_UTF8}")
    return BrokenFileError(f"it is not UTF-8 text. {SAVE_AS_UTF8}")


def check_no_nul(line: str) -> None:
    """Raises BrokenFileError where the first line holds NUL: the text is UTF-16 without a byte order mark."""
    if "\0" in line:
        raise BrokenFileError(NUL_BYTES)


def _encoding(data: bytes) -> str:
    return next((name for mark, name in ENCODINGS if data.startswith(mark)), "utf-8-sig")


def _looks_like(data: bytes) -> str:
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return ""
    return "; it looks like Windows-1252"
