"""Decode the text of a data file: UTF-8, or UTF-16 and UTF-32 by their byte order mark."""

import codecs
import io

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
