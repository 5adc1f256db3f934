"""Single files on a disk and in a store: read or fetched from one version, written whole."""

import hashlib
import mimetypes
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from safechain_ray.types.tables import plain_columns

WHOLE_BYTES = 8 * 2**20
"""A Parquet file of an object store up to this size is read in one request, a larger one by the columns wanted."""

PIECE_BYTES = 16 * 2**20
"""A file that is fetched comes in pieces of this size; what breaks is asked for again by the piece."""

PIECES_AT_ONCE = 8
"""One connection of a store gives some 50 to 100 MB/s, a machine's network a multiple of that."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a listing says of a file. `modified` counts nanoseconds since 1970."""

    name: str
    size: int
    modified: int


class ReplacedError(OSError):
    """A file was replaced by another while it was read; it can be read again."""


def read_whole(filesystem: fs.FileSystem, path: str) -> bytes:
    """The bytes of one version of the file. Raises ReplacedError where it changed meanwhile."""
    _check_regular(filesystem, path)
    if isinstance(filesystem, fs.GcsFileSystem):
        return _streamed(filesystem, path)
    with filesystem.open_input_file(path) as file:  # not a stream: that would come in many small requests
        return _all_of(file, filesystem, path)


def read_table(filesystem: fs.FileSystem, path: str, columns: Sequence[str] | None) -> pa.Table:
    """The table, or columns of it, of one version of the file. Raises as `read_whole` does."""
    _check_regular(filesystem, path)
    if isinstance(filesystem, fs.GcsFileSystem):
        return _table_of_google(filesystem, path, columns)
    with filesystem.open_input_file(path) as file:
        if isinstance(filesystem, fs.S3FileSystem) and file.size() <= WHOLE_BYTES:
            return _table(pa.BufferReader(_all_of(file, filesystem, path)), columns)
        try:
            with _still_there():
                return _table(file, columns)
        finally:
            _check_unchanged(filesystem, path, _entity_tag(filesystem, file))


def _check_regular(filesystem: fs.FileSystem, path: str) -> None:
    """Raises OSError for a named pipe or a device of this machine: a reader of the first waits for ever."""
    if isinstance(filesystem, fs.LocalFileSystem) and filesystem.get_file_info(path).type == fs.FileType.Unknown:
        raise OSError("it is a named pipe or a device, not a file")


def _table_of_google(filesystem: fs.FileSystem, path: str, columns: Sequence[str] | None) -> pa.Table:
    size = filesystem.get_file_info(path).size
    if size is None or size <= WHOLE_BYTES:
        return _table(pa.BufferReader(_streamed(filesystem, path)), columns)
    with _still_there():
        return plain_columns(pq.read_table(path, filesystem=filesystem, columns=columns, partitioning=None))


def _streamed(filesystem: fs.FileSystem, path: str) -> bytes:
    """A file of Google's store in one request.

    Not as a file that is open for random access: pyarrow (26) holds the GIL in the first request of such a one, and
    every thread of the process waits for the store.
    """
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


@contextmanager
def _still_there() -> Iterator[None]:
    """Google's store gives the bytes of the version that was opened, or nothing where that is gone."""
    try:
        yield
    except FileNotFoundError as error:
        raise ReplacedError("it was replaced or deleted while it was read") from error


def _all_of(file: pa.NativeFile, filesystem: fs.FileSystem, path: str) -> bytes:
    with _still_there():
        tag, data = _entity_tag(filesystem, file), bytes(file.read())
    if tag is not None and tag.strip('"') != hashlib.md5(data, usedforsecurity=False).hexdigest():
        _check_unchanged(filesystem, path, tag)  # the tag of what went up in parts, or encrypted, is another hash
    return data


def _table(source: pa.NativeFile, columns: Sequence[str] | None) -> pa.Table:
    return plain_columns(pq.read_table(source, columns=columns, partitioning=None))


def _check_unchanged(filesystem: fs.FileSystem, path: str, tag: str | None) -> None:
    """Of an object in S3 pyarrow asks the size, and then the bytes.

    If it is replaced in between, what comes is cut off, or filled up with whatever stood in memory.
    """
    if tag is None:
        return
    with filesystem.open_input_file(path) as file:
        if _entity_tag(filesystem, file) != tag:
            raise ReplacedError("it was replaced while it was read")


def _entity_tag(filesystem: fs.FileSystem, file: pa.NativeFile) -> str | None:
    """The tag of an object in S3; None on a disk and in Google's store, where an open file stays what it was."""
    tag = file.metadata().get("ETag") if isinstance(filesystem, fs.S3FileSystem) else None
    return None if tag is None else tag.decode()


def fetch_file(
    filesystem: fs.FileSystem, path: str, size: int, target: Path, persist: Callable[[Callable[[], Any]], Any]
) -> None:
    """Bring a file of `size` bytes to the local `target`, which shows it whole or not at all.

    Each request goes through `persist`, which may try it again. Raises ReplacedError where the file is not the one that
    was listed, or does not stay it; that one is not tried again.
    """
    _check_regular(filesystem, path)
    source = persist(lambda: filesystem.open_input_file(path))
    if persist(source.size) != size:  # before a piece is planned for each 8 MiB that a listing promises
        raise ReplacedError("it is of another size than it was listed; start again when nobody writes there")
    partial = target.with_name(f"{target.name}.part")
    with open(partial, "wb") as file:

        def fetch_piece(offset: int) -> None:
            length = min(PIECE_BYTES, size - offset)
            data = persist(lambda: source.read_at(length, offset))
            if len(data) < length:
                raise ReplacedError("it is shorter than it was listed; start again when nobody writes there")
            os.pwrite(file.fileno(), data, offset)

        with ThreadPoolExecutor(PIECES_AT_ONCE) as pool:  # ends before the file is closed, whatever happens
            list(pool.map(fetch_piece, range(0, size, PIECE_BYTES)))
        file.flush()
        os.fsync(file.fileno())
    now = persist(lambda: filesystem.open_input_file(path))
    if now.size() != size or _entity_tag(filesystem, now) != _entity_tag(filesystem, source):
        raise ReplacedError("it was replaced while it was fetched; start again when nobody writes there")
    os.replace(partial, target)


def folders_by_files(filesystem: fs.FileSystem, path: str) -> set[str]:
    """The names of the folders in `path` that hold a file, however deep.

    To pyarrow a folder in Google's store is an object of its own, which nothing that only writes files leaves there.
    """
    below = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
    names = (info.path[len(path) :].strip("/").split("/") for info in below)
    return {parts[0] for parts in names if len(parts) > 1}


def delete_all(filesystem: fs.FileSystem, path: str) -> None:
    """Delete a folder with all in it. Raises FileNotFoundError for one that is not there, but of Google's store."""
    if isinstance(filesystem, fs.GcsFileSystem):
        filesystem.delete_dir_contents(path, missing_dir_ok=True)
    else:
        filesystem.delete_dir(path)


def write_local(target: Path, data: bytes | memoryview) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{token_hex(6)}.tmp")
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def copy_local(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{token_hex(6)}.tmp")
    try:
        shutil.copyfile(source, partial)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def move_local(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def put_object(filesystem: fs.FileSystem, path: str, pieces: Iterable[bytes | memoryview]) -> None:
    content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    stream = filesystem.open_output_stream(path, compression=None, metadata={"Content-Type": content_type})
    for piece in pieces:
        stream.write(piece)
    # No `with`: it would close a second time after a failed close, which then succeeds without a word.
    stream.close()


def pieces_of(source: Path) -> Iterator[bytes]:
    with open(source, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
