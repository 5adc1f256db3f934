"""Single files on a disk and in a store: read from one version, written whole."""

import hashlib
import mimetypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from safechain_ray.schema.plain_columns import plain_columns

WHOLE_BYTES = 8 * 2**20
"""A Parquet file of an object store up to this size is read in one request, a larger one by the columns wanted."""


class ReplacedError(OSError):
    """A file was replaced by another while it was read; it can be read again."""


def read_whole(filesystem: fs.FileSystem, path: str) -> bytes:
    """The bytes of one version of the file. Raises ReplacedError where it changed meanwhile."""
    with filesystem.open_input_file(path) as file:  # not a stream: that would come in many small requests
        return _all_of(file, filesystem, path)


def read_table(filesystem: fs.FileSystem, path: str, columns: Sequence[str] | None) -> pa.Table:
    """The table, or columns of it, of one version of the file. Raises as `read_whole` does."""
    with filesystem.open_input_file(path) as file:
        if not isinstance(filesystem, fs.LocalFileSystem) and file.size() <= WHOLE_BYTES:
            return _table(pa.BufferReader(_all_of(file, filesystem, path)), columns)
        try:
            with _still_there():
                return _table(file, columns)
        finally:
            _check_unchanged(filesystem, path, _entity_tag(file))


@contextmanager
def _still_there() -> Iterator[None]:
    """Google's store gives the bytes of the version that was opened, or nothing where that is gone."""
    try:
        yield
    except FileNotFoundError as error:
        raise ReplacedError("it was replaced or deleted while it was read") from error


def _all_of(file: pa.NativeFile, filesystem: fs.FileSystem, path: str) -> bytes:
    with _still_there():
        tag, data = _entity_tag(file), bytes(file.read())
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
        if _entity_tag(file) != tag:
            raise ReplacedError("it was replaced while it was read")


def _entity_tag(file: pa.NativeFile) -> str | None:
    """The tag of an object in S3; None on a disk and in Google's store, where an open file stays what it was."""
    tag = file.metadata().get("ETag")
    return None if tag is None else tag.decode()


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


def move_local(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def put_object(filesystem: fs.FileSystem, path: str, data: bytes | memoryview) -> None:
    content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    stream = filesystem.open_output_stream(path, compression=None, metadata={"Content-Type": content_type})
    stream.write(data)
    # No `with`: it would close a second time after a failed close, which then succeeds without a word.
    stream.close()
