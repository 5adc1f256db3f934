"""One folder of files at any URI (local path, file://, s3://, gs://), where a name shows a whole file or no file.

What a write guarantees:
- Local: the bytes go to a hidden file beside the target, are flushed to the disk (fsync), and take the target's name in
  one rename. Readers see the old file or the new one. A failed write removes its hidden file; a killed process leaves
  it behind under a name (`.NAME.*.tmp`) that `list_files`, Ray Data, `datasets` and DuckDB pass over. The folder itself
  is not flushed: after a power cut the last rename may be gone, never torn.
- Object stores: an object appears when its upload is complete, so the bytes go up whole in one upload under the final
  name. A killed process leaves nothing visible.
- Two writers of one name: the later one wins.
"""

import errno
import mimetypes
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from safechain_ray.errors import InputError, StorageError
from safechain_ray.schema.plain_columns import plain_columns

SCHEMES = ("file", "s3", "gs", "gcs")

_USER_INFO = re.compile(r"(?<=://)(?:[^/\s@]*|[^/\s@:]*:[^\s@]*)@")  # the second form: a secret that holds a slash
_QUERY = re.compile(r"(\b\w+://[^\s?'\"]*)\?[^\s'\"]+")

_LOCAL_MEND = "Choose another folder, or give this user the right to write there."
_REMOTE_MEND = (
    "Check the bucket's name, its region and endpoint, and that the credentials of the environment may write."
)


def redact(text: str) -> str:
    """`text` with the user information and the query of every URI in it blotted out: both may hold secrets."""
    return _QUERY.sub(r"\1?***", _USER_INFO.sub("***@", text))


@dataclass(frozen=True)
class Folder:
    """A folder, which need not exist yet. Picklable, and with it the credentials that its URI may hold.

    `path` is the folder inside `filesystem`, as Ray Data and pyarrow take it. `uri` is what the user gave: it may hold
    secrets, so messages use `str(folder)`. Every method raises StorageError, which names the place and the reason.
    """

    filesystem: fs.FileSystem = field(repr=False)
    path: str
    uri: str = field(repr=False)

    def __str__(self) -> str:
        return redact(self.uri)

    def __truediv__(self, name: str) -> "Folder":
        """The folder called `name` inside this one."""
        return Folder(self.filesystem, self._path(name), _join(self.uri, name))

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or a folder called `name`; without a name, whether this folder is there."""
        with self._reported("look for", name):
            info = self.filesystem.get_file_info(self._path(name))
        return bool(info.type != fs.FileType.NotFound)

    def list_files(self, suffix: str = "") -> list[str]:
        """The sorted names of the files right here that end in `suffix`, without hidden ones; none without a folder."""
        return self._list(fs.FileType.File, suffix)

    def list_folders(self) -> list[str]:
        """The sorted names of the folders right here, hidden ones left out."""
        return self._list(fs.FileType.Directory, "")

    def read_bytes(self, name: str) -> bytes:
        with (
            self._reported("read", name),
            self.filesystem.open_input_stream(self._path(name), compression=None) as file,
        ):
            return bytes(file.read())

    def read_text(self, name: str) -> str:
        return self.read_bytes(name).decode("utf-8")

    def read_parquet(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The table in the file `name`, or `columns` of it, in that order. A column that is not there is an error."""
        wanted = None if columns is None else list(columns)
        with self._reported("read", name):
            table = pq.read_table(self._path(name), columns=wanted, filesystem=self.filesystem, partitioning=None)
            return plain_columns(table)

    def write_bytes(self, name: str, data: bytes | memoryview) -> None:
        """Write the file whole or not at all (see the module), making the folders above it."""
        with self._reported("write", name):
            if self.is_local:
                _write_local(Path(self._path(name)), data)
            else:
                _put_object(self.filesystem, self._path(name), data)

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode("utf-8"))

    def write_parquet(self, name: str, table: pa.Table) -> None:
        """Write `table` with zstd compression, whole or not at all; it is encoded in memory first.

        Pages carry checksums: without them a flipped bit in a page may read as other text or another number.
        """
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        self.write_bytes(name, memoryview(buffer.getvalue()))

    def move(self, name: str, new_name: str) -> None:
        """Give a file another name. Atomic on a local disk; a copy and a delete in an object store."""
        with self._reported("move", name):
            if self.is_local:
                Path(self._path(new_name)).parent.mkdir(parents=True, exist_ok=True)
            self.filesystem.move(self._path(name), self._path(new_name))

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens where there is none."""
        with self._reported("delete", name), suppress(FileNotFoundError):
            self.filesystem.delete_file(self._path(name))

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all that is in it."""
        with self._reported("delete", name):
            self.filesystem.delete_dir(self._path(name))

    def check_writable(self) -> None:
        """Write a small hidden file and delete it again, so that a run learns at its start that it can't be kept.

        Makes the folder where it is missing. Raises StorageError with what to do.
        """
        probe = f"_probe-{token_hex(6)}"
        try:
            self.write_bytes(probe, b"can this folder be written?")
            self.delete(probe)
        except StorageError as error:
            raise StorageError(f"{error} {_LOCAL_MEND if self.is_local else _REMOTE_MEND}") from error

    def _path(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}" if name else self.path

    def _list(self, kind: fs.FileType, suffix: str) -> list[str]:
        with self._reported("list", ""):
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(
            info.base_name
            for info in found
            if info.type == kind and info.base_name.endswith(suffix) and not info.base_name.startswith((".", "_"))
        )

    @contextmanager
    def _reported(self, action: str, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            place = redact(_join(self.uri, name))
            raise StorageError(f"Can't {action} {place}: {_reason(error)}.") from error


def open_folder(uri: str) -> Folder:
    """The folder at `uri`; nothing is created. A local path that is relative counts from the working folder.

    An S3 URI may carry `endpoint_override`, `scheme` and `region` in its query; credentials are better kept in the
    environment. Raises InputError for a URI that can't be read as one, StorageError for a store that can't be reached
    (the region of an S3 bucket is looked up where neither `region` nor `endpoint_override` is given).
    """
    filesystem, path = _resolve(uri)
    return Folder(filesystem, path, uri if "://" in uri else path)


def read_uri(uri: str) -> bytes:
    """The bytes of the file at `uri`. Raises InputError and StorageError as `open_folder` and `read_bytes` do."""
    folder, name = _folder_of(uri)
    return folder.read_bytes(name)


def write_uri(uri: str, data: bytes) -> None:
    """Write the file at `uri`, whole or not at all. Raises InputError and StorageError as `read_uri` does."""
    folder, name = _folder_of(uri)
    folder.write_bytes(name, data)


def _folder_of(uri: str) -> tuple[Folder, str]:
    """The folder that the file at `uri` is in, and its name there."""
    filesystem, path = _resolve(uri)
    parent, _, name = path.rpartition("/")
    head, mark, query = uri.partition("?") if "://" in uri else (path, "", "")
    return Folder(filesystem, parent or "/", head.rpartition("/")[0] + mark + query), name


def _resolve(uri: str) -> tuple[fs.FileSystem, str]:
    if not uri:
        raise InputError("The path of a folder is empty; give a local path, s3://bucket/folder or gs://bucket/folder.")
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    scheme = uri.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{known}://" for known in SCHEMES)
        raise InputError(
            f"Can't use {redact(uri)}: {scheme}:// is not known here. Give a local path, or one of {known}."
        )
    try:
        filesystem, path = fs.FileSystem.from_uri(_with_delayed_open(uri) if scheme == "s3" else uri)
    except (pa.ArrowInvalid, ValueError) as error:
        # The message of a URI that can't be parsed quotes it, and with it what redact may not find.
        reason = str(error).replace(uri, redact(uri)) if "parse" not in str(error) else "it is not a well-formed URI"
        raise InputError(f"Can't use {redact(uri)}: {redact(reason)}. Write it as {scheme}://bucket/folder.") from None
    except OSError as error:
        raise StorageError(f"Can't reach {redact(uri)}: {_reason(error)}. {_REMOTE_MEND}") from error
    if not path.strip("/") and scheme != "file":
        raise InputError(f"{redact(uri)} names no bucket; write it as {scheme}://bucket/folder.")
    return filesystem, path


def _with_delayed_open(uri: str) -> str:
    """A small file then goes up in one request, not in the three of a multipart upload."""
    query = urlsplit(uri).query
    if "allow_delayed_open" in query:
        return uri
    return f"{uri}{'&' if query else '?'}allow_delayed_open=true"


def _write_local(target: Path, data: bytes | memoryview) -> None:
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


def _put_object(filesystem: fs.FileSystem, path: str, data: bytes | memoryview) -> None:
    content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    stream = filesystem.open_output_stream(path, compression=None, metadata={"Content-Type": content_type})
    stream.write(data)
    # No `with`: it would close a second time after a failed close, which then succeeds without a word.
    stream.close()


def _join(uri: str, name: str) -> str:
    if not name:
        return uri
    head, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{head.rstrip('/')}/{name}{mark}{query}"


def _reason(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the device (free some, then run the same command again: what was written is whole)"
    if isinstance(error, FileNotFoundError):
        return "there is no such file, folder or bucket"
    if number is not None and error.__class__ is not OSError:
        return os.strerror(number)
    return redact(str(error)).rstrip(".")
