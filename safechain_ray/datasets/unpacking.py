"""Limits on decompressed size: a compressed file or archive is measured before it is read or unpacked.

A file of 2 MB can expand to 4 GB, and 300 bytes of Parquet to 8 GB. A file may expand to 1 GiB, or to 100 times its
size if that is more. Text rarely compresses more than 20 times, so real data sets of any size pass. Small values count
for more than their bytes, because each becomes a Python object.

The `datasets` library detects compression by content: it unpacks a gzip file named `train.txt` too. This module
therefore checks the first bytes of each file, and uses the suffix only if they are unknown.
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
"""Cost of a row, or of a list or object of JSON, in addition to its text."""

CHUNK_BYTES = 2**24

_ARROW = LimitedProcess(Path(__file__).with_name("arrow_worker.py"), processor_seconds=600, memory=3 * 2**30)

MEMBER_BYTES = 2**10
"""Cost of a member of an archive in addition to its content: its name and header are Python objects."""

START_BYTES = 2**16

ARRAYS = (".pth", ".npy", ".npz", ".ten", ".tb", ".mp", ".msg", ".cbor")
"""Tar members that the library decodes with torch or NumPy. They contain no prompts, and have their own compression."""

STARTS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([0x50 + number]) + b"\x2a\x4d\x18": "zstd" for number in range(16)},  # a leading skippable frame
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
"""Magic bytes at the end of a file: a Parquet reader checks the last bytes, not the first ones."""

_STREAMS: dict[str, Callable[[Path], Any]] = {
    "gzip": gzip.open,
    "bz2": bz2.open,
    "xz": lzma.open,
    "zstd": lambda file: pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"),
    "lz4": lambda file: pa.CompressedInputStream(pa.OSFile(str(file)), "lz4"),
}


def limit_of(size: int) -> int:
    """Maximum decompressed size in bytes of a file of `size` bytes."""
    return max(LEAST_LIMIT, RATIO * size)


@dataclass
class Weight:
    """Running sum of decompressed bytes. `add` raises TooLargeError above the limit."""

    limit: int
    total: int = 0

    def add(self, size: int) -> None:
        self.total += size
        if self.total > self.limit:
            raise _too_large(self.limit)

    def add_text(self, chunk: bytes) -> None:
        self.add(len(chunk) + OBJECT_BYTES * sum(map(chunk.count, (b"\n", b"{", b"["))))


def unzipped(data: bytes) -> bytes:
    """The content of a gzip file. Raises BrokenFileError, also for content above the limit."""
    chunks: list[bytes] = []
    weight = Weight(limit_of(len(data)))
    try:
        with gzip.open(BytesIO(data)) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                weight.add_text(chunk)
                chunks.append(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenFileError(f"it can't be unzipped ({error})") from error
    return b"".join(chunks)


def check_arrow(data: bytes | Path, columns: Iterable[str] | None, kind: Literal["parquet", "arrow"]) -> None:
    """Read the columns (None: all) once in a child process with a memory limit, before they are read here.

    The file's metadata does not give the size of its values. A dictionary stores a long text once for many rows, and a
    page's header may differ from the file's index.

    Raises:
        TooLargeError: the values exceed the limit.
        BrokenFileError: the child process can't read the values, so their size is unknown.
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
        f"unpacks to more than {limit / 2**30:.3g} GiB, over {RATIO} times its size (each row, list or object "
        f"counts {OBJECT_BYTES} bytes more). Fix: unpack it yourself if you trust it, and give it as JSON Lines "
        "without compression"
    )


def check_packed(file: Path, suffix: str) -> None:
    """Unpack a compressed file or an archive once, keeping nothing, to measure it. Other files pass.

    `suffix` is in lower case.

    Raises:
        TooLargeError: it exceeds the limit, contains a compressed file, or is 7z or rar.
        BrokenFileError: it can't be unpacked.
    """
    limit = limit_of(file.stat().st_size)
    try:
        with file.open("rb") as opened:
            form = _form(opened.read(START_BYTES)) or SUFFIXES.get(re.split("[?_-]", suffix)[0])
        if form in ("7z", "rar"):
            raise TooLargeError(f"is a {form} archive, which is not unpacked here. Fix: unpack it yourself")
        # A file can have several of these formats at once, and its name decides which one the library reads. Tar comes
        # last: reading its headers takes as much memory as they claim, up to the unpacked size.
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
    except Exception as error:  # the six parsers have no common base class of errors
        raise BrokenFileError(f"it can't be unpacked ({error or type(error).__name__})") from error


def _form(start: bytes) -> str | None:
    """The compression format of a file with these first bytes, if any."""
    known = next((form for first, form in STARTS.items() if start.startswith(first)), None)
    return known or ("xz" if _is_old_lzma(start) else None)


def _is_old_lzma(start: bytes) -> bool:
    """Whether the bytes are LZMA without xz's header: it has no magic bytes, but the library unpacks it."""
    try:
        return bool(lzma.LZMADecompressor().decompress(start, 1))
    except lzma.LZMAError:
        return False


def _check(contents: Iterable[tuple[str, IO[bytes]]], limit: int) -> None:
    """Raises TooLargeError for contents that exceed the limit together, or that are compressed themselves."""
    weight = Weight(limit)
    for name, content in contents:
        start = end = b""
        if name:
            weight.add(MEMBER_BYTES)
        while chunk := content.read(CHUNK_BYTES):
            weight.add_text(chunk)
            start = start if len(start) == START_BYTES else (start + chunk[:START_BYTES])[:START_BYTES]
            end = (end + chunk[-4:])[-4:]
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
    """Members of a tar archive.

    Links are refused: many can point to one large file. Pipes are refused: a read can hang.
    """
    for member in archive:
        if member.name.lower().endswith(ARRAYS):
            raise BrokenFileError(f"it holds {member.name!r}, an array and no text. Fix: unpack it yourself")
        content = archive.extractfile(member) if member.isreg() else None
        if content is not None:
            yield member.name, content
        elif not member.isdir():
            raise BrokenFileError(f"it holds {member.name!r}, which is no file and no folder. Fix: unpack it yourself")
