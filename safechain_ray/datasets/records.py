"""Raw rows of a data set before conversion to prompts, and decoding of text files by their byte order mark."""

import codecs
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from safechain_ray.errors import InputError

ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Longest mark first: the little-endian mark of UTF-32 starts with that of UTF-16."""

SAVE_AS_UTF8 = "Fix: save the file as UTF-8"

SHOWN_COLUMNS = 30
SHOWN_CHARACTERS = 80
"""Most columns of a message, and the most characters of each."""

NUL_BYTES = f"its first line contains NUL bytes, as UTF-16 without a byte order mark does. {SAVE_AS_UTF8}"


@dataclass(frozen=True, slots=True)
class BrokenText:
    """An invalid text: half of a surrogate pair, or bytes that are not UTF-8.

    Only its row is invalid. As text, the value has U+FFFD in place of the invalid part.
    """

    readable: str
    problem: str

    def __str__(self) -> str:
        return self.readable


@dataclass(frozen=True, slots=True)
class Records:
    """`rows` in their order, each with some of the `columns`. `source` describes the origin for messages."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, object]]
    source: str

    def check_column(self, column: str, fix: str) -> None:
        """Raises InputError with the closest known column, then `fix`, if no row has `column`."""
        if column in self.columns:
            return
        near = get_close_matches(column, self.columns, n=1, cutoff=0.6)
        offer = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"{self.source} has no column {column!r}.{offer} Its columns: {column_names(self.columns)}. {fix}"
        )


def column_names(columns: Sequence[str]) -> str:
    """The names for a message: at most `SHOWN_COLUMNS`, each of them short."""
    shown = ", ".join(column[:SHOWN_CHARACTERS] for column in columns[:SHOWN_COLUMNS])
    more = len(columns) - SHOWN_COLUMNS
    return f"{shown} and {more:,} more" if more > 0 else shown


def as_text(value: object) -> str:
    """An id, a category or a label as text; "" for a missing one.

    Table libraries store integers beside a missing value as floats: 1.0 is the integer 1, and NaN is missing.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def text_problem(value: object, kind: str) -> str | None:
    """Why `value` is no valid text for `kind`; None for a text that is not blank."""
    if isinstance(value, BrokenText):
        return f"the {kind} {value.problem}"
    if value is not None and not isinstance(value, str):
        return f"the {kind} is no text but a value of type {type(value).__name__}"
    if value is None or not value.strip():
        return f"the {kind} is empty"
    return None


class BrokenFileError(Exception):
    """A defect inside a file, with a fix where there is a specific one. The caller adds the file's name."""

    def of(self, file: str) -> str:
        """The message for this file."""
        usual = "" if " Fix: " in str(self) else " Fix: correct it, or replace it with an intact copy."
        return f"{file} is broken: {self}.{usual}"


class TooLargeError(BrokenFileError):
    """A file that exceeds a size limit, or may do so. The text is a predicate ("unpacks to ...")."""

    def of(self, file: str) -> str:
        return f"{file} {self}."


def text_lines(data: bytes, encoding: str | None = None, newline: str = "") -> io.TextIOWrapper:
    """A decoder of `data` that keeps line ends as written. With `newline` only that character ends a line.

    The text is decoded in chunks: one string of a large file would take up to four times its size. Reading raises
    UnicodeError for invalid text, which `not_text` explains.
    """
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding or _encoding(data), newline=newline)


def not_text(data: bytes, encoding: str | None = None) -> BrokenFileError:
    """The error for `data` that `text_lines` can't decode, with the line and the likely encoding."""
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
    """Raises BrokenFileError if the first line contains NUL: the text is UTF-16 without a byte order mark."""
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
