"""Limits for compressed data: a file of 2 MB can hold 4 GB, and 300 bytes of Parquet 8 GB.

A file may unpack to 1 GiB, or to 100 times its size where that is more. Text seldom compresses more than 20 times, so
real data sets of any size pass. Small values count for more than their bytes, since each is a Python object later.

Weigh the content of compressed files and archives before the `datasets` library unpacks them.

The library detects compression by content: it unpacks a gzip file named `train.txt` too. This module therefore reads
the first bytes of each file, and uses the suffix only if they are not known.
"""

import bz2
import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, Literal

import pyarrow as pa

from safechain_ray.datasets.records import BrokenFileError, TooLargeError
from safechain_ray.limited_process import AnswerError, LimitedProcess, LimitExceededError

LEAST_LIMIT = 2**30

RATIO = 100

OBJECT_BYTES = 128

"""What a row, or a list or an object of JSON, counts for beside its text."""

PIECE_BYTES = 2**24

_ARROW = LimitedProcess(Path(__file__).with_name("arrow_worker.py"), processor_seconds=600, memory=3 * 2**30)


def limit_of(size: int) -> int:
    """Bytes that a file of `size` bytes may unpack to."""
    return max(LEAST_LIMIT, RATIO * size)


@dataclass
class Weight:
    """The sum of what was unpacked. Adding to it raises TooLargeError above the limit."""

    limit: int
    total: int = 0

    def add(self, size: int) -> None:
        self.total += size
        if self.total > self.limit:
            raise _too_large(self.limit)

    def add_text(self, piece: bytes) -> None:
        self.add(len(piece) + OBJECT_BYTES * sum(map(piece.count, (b"\n", b"{", b"["))))


def unzipped(data: bytes) -> bytes:
    """The content of a gzip file. Raises BrokenFileError, also for content above the limit."""
    pieces: list[bytes] = []
    weight = Weight(limit_of(len(data)))
    try:
        with gzip.open(BytesIO(data)) as stream:
            while piece := stream.read(PIECE_BYTES):
                weight.add_text(piece)
                pieces.append(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenFileError(f"it can't be unzipped ({error})") from error
    return b"".join(pieces)


def check_arrow(data: bytes | Path, columns: Iterable[str] | None, kind: Literal["parquet", "arrow"]) -> None:
    """Read the columns (None: all) once in a child process with little memory, before they are read here.

    The file's metadata does not give the size of its values. A dictionary stores a long text once for many rows, and a
    page's header may differ from the file's index.

    Raises:
        TooLargeError: the values are above the limit.
        BrokenFileError: the child process can't read the values, so that their size is not known.
    """
    if isinstance(data, bytes):
        with NamedTemporaryFile(prefix="safechain-ray-", suffix=f".{kind}") as file:
            file.write(data)
            file.flush()
            check_arrow(Path(file.name), columns, kind)
        return
    limit = limit_of(data.stat().st_size)
    try:
        fits = _ARROW.ask([str(data), kind, None if columns is None else list(columns), limit, OBJECT_BYTES])
    except LimitExceededError as error:
        raise TooLargeError(
            f"can't be checked: reading it {error}. Fix: split it into smaller files, or convert it to JSON Lines"
        ) from error
    except AnswerError as error:
        raise BrokenFileError(f"its values can't be read ({error})") from error
    if not fits:
        raise _too_large(limit)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"unpacks to more than {limit / 2**30:.3g} GiB, over {RATIO} times its size ({OBJECT_BYTES} bytes for "
        "each row, list or object among it). Fix: unpack it yourself if you trust it, and give it as JSON Lines "
        "without compression"
    )


MEMBER_BYTES = 2**10

"""What a file of an archive counts for beside its content: its name and its header are Python objects."""

START_BYTES = 2**16

ARRAYS = (".pth", ".npy", ".npz", ".ten", ".tb", ".mp", ".msg", ".cbor")

"""Files of a tar archive that the library decodes, with torch or NumPy. They hold no prompts, and unpack by themselves.
"""

STARTS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([0x50 + number]) + b"\x2a\x4d\x18": "zstd" for number in range(16)},  # a frame to skip comes first
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PK\x07\x08": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
}

SUFFIXES = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".tgz": "gzip",
    ".bz2": "bz2",
    ".xz": "xz",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".lz4": "lz4",
    ".zip": "zip",
    ".7z": "7z",
    ".rar": "rar",
}

PARQUET_ENDS = (b"PAR1", b"PARE")

"""A reader of Parquet checks the last bytes of a file, not the first ones."""

_STREAMS: dict[str, Callable[[Path], Any]] = {
    "gzip": gzip.open,
    "bz2": bz2.open,
    "xz": lzma.open,
    "zstd": lambda file: pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"),
    "lz4": lambda file: pa.CompressedInputStream(pa.OSFile(str(file)), "lz4"),
}


def check_packed(file: Path, suffix: str) -> None:
    """Unpack a compressed file or an archive once and keep nothing; any other file passes. `suffix` is in lower case.

    Raises:
        TooLargeError: it unpacks to more than the limit, holds a file that is compressed itself, or is 7z or rar.
        BrokenFileError: it can't be unpacked.
    """
    limit = limit_of(file.stat().st_size)
    try:
        with file.open("rb") as opened:
            form = _form(opened.read(START_BYTES)) or SUFFIXES.get(re.split("[?_-]", suffix)[0])
        if form in ("7z", "rar"):
            raise TooLargeError(f"is a {form} archive, which is not unpacked here. Fix: unpack it yourself")
        # A file can be several of these at once, and its name decides which one the library reads. A tar file comes
        # last: reading its headers takes as much memory as they claim, up to what the file unpacks to.
        if form in _STREAMS:
            with _STREAMS[form](file) as stream:
                _check([("", stream)], limit)
        if form == "zip" or zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as zipped:
                _check(_of_zip(zipped), limit)
        if tarfile.is_tarfile(file):
            with tarfile.open(file) as tar:
                _check(_of_tar(tar), limit)
    except BrokenFileError:
        raise
    except Exception as error:  # six parsers of foreign bytes have no base class of errors in common
        raise BrokenFileError(f"it can't be unpacked ({error or type(error).__name__})") from error


def _form(start: bytes) -> str | None:
    """The format of a file that starts with these bytes, where it is a compressed one."""
    known = next((form for first, form in STARTS.items() if start.startswith(first)), None)
    return known or ("xz" if _is_old_lzma(start) else None)


def _is_old_lzma(start: bytes) -> bool:
    """Whether these bytes are LZMA without xz's header, which has no fixed first bytes and is unpacked all the same."""
    try:
        return bool(lzma.LZMADecompressor().decompress(start, 1))
    except lzma.LZMAError:
        return False


def _check(contents: Iterable[tuple[str, IO[bytes]]], limit: int) -> None:
    """Raises TooLargeError for contents that weigh too much together, or that are compressed once more."""
    weight = Weight(limit)
    for name, content in contents:
        start = end = b""
        if name:
            weight.add(MEMBER_BYTES)
        while piece := content.read(PIECE_BYTES):
            weight.add_text(piece)
            start = start if len(start) == START_BYTES else (start + piece[:START_BYTES])[:START_BYTES]
            end = (end + piece[-4:])[-4:]
        if _form(start) is not None or end in PARQUET_ENDS:
            raise TooLargeError(
                f"holds {f'the file {name!r}' if name else 'a file'} that is compressed itself, and is not read. "
                "Fix: unpack it yourself, and give the files without compression"
            )


def _of_zip(archive: zipfile.ZipFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in archive.infolist():
        if not member.is_dir():
            with archive.open(member) as content:
                yield member.filename, content


def _of_tar(archive: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    """Links are refused, because many of them can lead to one large file, and pipes, because reading one can hang."""
    for member in archive:
        if member.name.lower().endswith(ARRAYS):
            raise BrokenFileError(f"it holds {member.name!r}, an array and no text. Fix: unpack it yourself")
        content = archive.extractfile(member) if member.isreg() else None
        if content is not None:
            yield member.name, content
        elif not member.isdir():
            raise BrokenFileError(f"it holds {member.name!r}, which is no file and no folder. Fix: unpack it yourself")
