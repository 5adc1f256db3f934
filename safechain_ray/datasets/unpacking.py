"""Limits for compressed data: a file of 2 MB can hold 4 GB, and 300 bytes of Parquet 8 GB.

A file may unpack to 1 GiB, or to 100 times its size where that is more. Text seldom compresses more than 20 times, so
real data sets of any size pass. Small values count for more than their bytes, since each is a Python object later.
"""

import gzip
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

from safechain_ray.datasets.text_files import BrokenFileError, TooLargeError
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
