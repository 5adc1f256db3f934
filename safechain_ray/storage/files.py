"""Single files on a local disk or in an object store: reads of one version, chunked downloads, atomic writes."""

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
"""Parquet files of an object store up to this size are read in one request, larger ones by column."""

CHUNK_BYTES = 16 * 2**20
"""Size of the chunks of a download. A broken chunk is retried alone."""

PARALLEL_CHUNKS = 8
"""One connection to a store gives some 50 to 100 MB/s, a machine's network several times as much."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Name, size and modification time (nanoseconds since 1970) of a listed file."""

    name: str
    size: int
    modified: int


class ReplacedError(OSError):
    """A file was replaced while it was read. It can be read again."""


def read_whole(filesystem: fs.FileSystem, path: str) -> bytes:
    """The bytes of one version of the file. Raises ReplacedError if the file changed meanwhile."""
    _check_regular(filesystem, path)
    if isinstance(filesystem, fs.GcsFileSystem):
        return _streamed(filesystem, path)
    with filesystem.open_input_file(path) as file:  # a stream would be read in many small requests
        return _all_of(file, filesystem, path)


def read_table(filesystem: fs.FileSystem, path: str, columns: Sequence[str] | None) -> pa.Table:
    """The table, or its `columns`, of one version of the file. Raises as `read_whole` does."""
    _check_regular(filesystem, path)
    if isinstance(filesystem, fs.GcsFileSystem):
        return _table_of_google(filesystem, path, columns)
    with filesystem.open_input_file(path) as file:
        if isinstance(filesystem, (fs.S3FileSystem, fs.PyFileSystem)) and file.size() <= WHOLE_BYTES:
            return _table(pa.BufferReader(_all_of(file, filesystem, path)), columns)
        try:
            with _as_replaced_error():
                return _table(file, columns)
        finally:
            _check_unchanged(filesystem, path, _entity_tag(filesystem, file))


def _check_regular(filesystem: fs.FileSystem, path: str) -> None:
    """Raises OSError for a named pipe or a device of this machine: a read of a pipe blocks for ever."""
    if isinstance(filesystem, fs.LocalFileSystem) and filesystem.get_file_info(path).type == fs.FileType.Unknown:
        raise OSError("it is a named pipe or a device, not a file. Fix: replace it with a regular file")


def _table_of_google(filesystem: fs.FileSystem, path: str, columns: Sequence[str] | None) -> pa.Table:
    size = filesystem.get_file_info(path).size
    if size is None or size <= WHOLE_BYTES:
        return _table(pa.BufferReader(_streamed(filesystem, path)), columns)
    with _as_replaced_error():
        return plain_columns(pq.read_table(path, filesystem=filesystem, columns=columns, partitioning=None))


def _streamed(filesystem: fs.FileSystem, path: str) -> bytes:
    """A file of Google Cloud Storage in one request.

    A file opened for random access is avoided: pyarrow (26) holds the GIL during its first request, so that every
    thread of the process waits for the store.
    """
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


@contextmanager
def _as_replaced_error() -> Iterator[None]:
    """Google Cloud Storage returns the bytes of the opened version, or FileNotFoundError once that version is gone."""
    try:
        yield
    except FileNotFoundError as error:
        raise ReplacedError("it was replaced or deleted while it was read") from error


def _all_of(file: pa.NativeFile, filesystem: fs.FileSystem, path: str) -> bytes:
    with _as_replaced_error():
        tag, data = _entity_tag(filesystem, file), bytes(file.read())
    if tag is not None and tag.strip('"') != hashlib.md5(data, usedforsecurity=False).hexdigest():
        _check_unchanged(filesystem, path, tag)  # multipart and encrypted objects have no MD5 as their tag
    return data


def _table(source: pa.NativeFile, columns: Sequence[str] | None) -> pa.Table:
    return plain_columns(pq.read_table(source, columns=columns, partitioning=None))


def _check_unchanged(filesystem: fs.FileSystem, path: str, tag: str | None) -> None:
    """Raises ReplacedError if the object's entity tag is no longer `tag`.

    pyarrow requests the size of an S3 object first and its bytes later. If the object is replaced in between, the
    result is truncated, or padded with uninitialised memory.
    """
    if tag is None:
        return
    with filesystem.open_input_file(path) as file:
        if _entity_tag(filesystem, file) != tag:
            raise ReplacedError("it was replaced while it was read")


def _entity_tag(filesystem: fs.FileSystem, file: pa.NativeFile) -> str | None:
    """The entity tag of an S3 object. None elsewhere: an open file on a disk, in Google's or Azure's store keeps its
    version.
    """
    tag = file.metadata().get("ETag") if isinstance(filesystem, fs.S3FileSystem) else None
    return None if tag is None else tag.decode()


def fetch_file(
    filesystem: fs.FileSystem, path: str, size: int, target: Path, with_retry: Callable[[Callable[[], Any]], Any]
) -> None:
    """Download a file of `size` bytes to the local `target` atomically, in parallel chunks.

    Each request goes through `with_retry`, which may retry it.

    Raises:
        ReplacedError: the file is not the listed one, or changed during the download. This error is not retried.
    """
    _check_regular(filesystem, path)
    source = with_retry(lambda: _open_shared(filesystem, path))
    if with_retry(source.size) != size:  # checked before chunks are planned for the listed size
        raise ReplacedError("its size has changed since the folder was listed. Fix: rerun when nothing writes to it")
    partial = target.with_name(f"{target.name}.part")
    with open(partial, "wb") as file:

        def fetch_chunk(offset: int) -> None:
            length = min(CHUNK_BYTES, size - offset)
            data = with_retry(lambda: _read_chunk(source, length, offset))
            if data is None:
                raise ReplacedError(_REPLACED)
            if len(data) < length:
                raise ReplacedError(
                    "it is shorter than when the folder was listed. Fix: rerun when nothing writes to it"
                )
            os.pwrite(file.fileno(), data, offset)

        with ThreadPoolExecutor(PARALLEL_CHUNKS) as pool:  # its threads end before the file is closed
            list(pool.map(fetch_chunk, range(0, size, CHUNK_BYTES)))
        file.flush()
        os.fsync(file.fileno())
    now = with_retry(lambda: _open_shared(filesystem, path))
    if now.size() != size or _shared_tag(filesystem, now) != _shared_tag(filesystem, source):
        raise ReplacedError(_REPLACED)
    os.replace(partial, target)


_REPLACED = "it was replaced during the download. Fix: rerun when nothing writes to it"


def _open_shared(filesystem: fs.FileSystem, path: str) -> Any:
    """An open file whose `read_at` works in parallel. pyarrow's file over a Python object reads one range at a time."""
    if isinstance(filesystem, fs.PyFileSystem):
        return filesystem.handler.open_version(path)
    return filesystem.open_input_file(path)


def _shared_tag(filesystem: fs.FileSystem, file: Any) -> str | None:
    tag: str | None = file.tag if isinstance(filesystem, fs.PyFileSystem) else _entity_tag(filesystem, file)
    return tag


def _read_chunk(source: Any, length: int, offset: int) -> bytes | None:
    """The bytes at `offset`; None if the file was replaced. An error would be retried, and fail each time."""
    try:
        data: bytes = source.read_at(length, offset)
    except ReplacedError:
        return None
    return data


def folders_by_files(filesystem: fs.FileSystem, path: str) -> set[str]:
    """Names of the folders in `path` that contain a file at any depth.

    For pyarrow a folder in Google Cloud Storage is an object of its own, which is missing where only files were
    written.
    """
    below = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
    names = (info.path[len(path) :].strip("/").split("/") for info in below)
    return {parts[0] for parts in names if len(parts) > 1}


def delete_all(filesystem: fs.FileSystem, path: str) -> None:
    """Delete a folder recursively. Raises FileNotFoundError for a missing folder, except in Google Cloud Storage."""
    if isinstance(filesystem, fs.GcsFileSystem):
        filesystem.delete_dir_contents(path, missing_dir_ok=True)
    else:
        filesystem.delete_dir(path)


@contextmanager
def _replaced_atomically(target: Path) -> Iterator[Path]:
    """A hidden path beside `target`, renamed to `target` at the end of the block, or deleted after an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{token_hex(6)}.tmp")
    try:
        yield partial
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_local(target: Path, data: bytes | memoryview) -> None:
    """Write `data` to a hidden file beside `target`, flush it and rename it to `target`."""
    with _replaced_atomically(target) as partial, open(partial, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_local(source: Path, target: Path) -> None:
    """Copy `source` to `target` atomically."""
    with _replaced_atomically(target) as partial:
        shutil.copyfile(source, partial)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())


def move_local(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def put_object(filesystem: fs.FileSystem, path: str, chunks: Iterable[bytes | memoryview]) -> None:
    """Upload `chunks` as one object, which appears when the upload is complete."""
    content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    stream = filesystem.open_output_stream(path, compression=None, metadata={"Content-Type": content_type})
    for chunk in chunks:
        stream.write(chunk)
    # No `with`: after a failed close it would close a second time, which succeeds silently.
    stream.close()


def chunks_of(source: Path) -> Iterator[bytes]:
    with open(source, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
