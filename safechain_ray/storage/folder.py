"""Folder of files at any URI with atomic writes: a name shows a complete file or no file.

Guarantees of a write:
1. Local disk: the bytes are written to a hidden file beside the target, flushed (fsync) and renamed to the target.
   Readers see the old file or the new one. A failed write removes its hidden file. A killed process leaves a hidden
   file (`.NAME.*.tmp`) that `list_files`, Ray Data, `datasets` and DuckDB ignore.
2. Object store: an object appears when its upload is complete, so the bytes are uploaded under the final name. A killed
   process leaves nothing visible. Transient errors (no connection, 5xx, throttling, a broken upload) are retried with a
   full upload until the folder's retry time is over.
3. Of two writers of one name, the later one wins.

Known trade-off: the directory itself is not flushed. After a power cut the last rename may be missing, never torn.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from safechain_ray.errors import InputError, StorageError, StoreUnavailableError
from safechain_ray.storage.files import (
    FileFacts,
    chunks_of,
    copy_local,
    delete_all,
    fetch_file,
    folders_by_files,
    move_local,
    put_object,
    read_table,
    read_whole,
    write_local,
)
from safechain_ray.storage.retry import (
    OutageState,
    Report,
    RetriesExhaustedError,
    RetryPolicy,
    explained,
    store_error_of,
)
from safechain_ray.storage.uris import joined, redact, resolve, stays_inside

T = TypeVar("T")


@dataclass(frozen=True)
class Folder:
    """A folder, which need not exist yet. A pickled copy includes the credentials of its URI.

    `path` is the folder inside `filesystem`, as Ray Data and pyarrow take it. `uri` is the user's URI. It may contain
    secrets, so messages use `str(folder)`. `guard` is called before every write and may refuse it by raising; pickled
    copies have no guard.

    Raises (every method):
        StorageError: the operation failed; the message names the path, the reason and the fix.
        StoreUnavailableError: an object store did not answer within the retry time.
        InputError: a name that leads out of the folder; nothing was read or written.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = open_folder(mkdtemp()) / "results"
        >>> folder.write_text("notes.txt", "one line")
        >>> folder.list_files()
        ['notes.txt']
    """

    filesystem: fs.FileSystem = field(repr=False)
    path: str
    uri: str = field(repr=False)
    retry: RetryPolicy = field(default_factory=RetryPolicy, compare=False, repr=False)
    guard: Callable[[], None] | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "guard": None}

    def __str__(self) -> str:
        return redact(self.uri)

    def __truediv__(self, name: str) -> "Folder":
        """The folder called `name` inside this one."""
        return replace(self, path=self._path(name), uri=joined(self.uri, name))

    def with_retry(self, seconds: float, report: Report | None = None) -> "Folder":
        """The same folder with a retry time in seconds and an outage state of its own, which calls `report`."""
        return replace(self, retry=RetryPolicy(seconds, OutageState(report, seconds)))

    def without_retry(self) -> "Folder":
        """The same folder without retries. It shares this folder's outage state."""
        return replace(self, retry=replace(self.retry, seconds=0))

    def guarded(self, guard: Callable[[], None]) -> "Folder":
        """The same folder with `guard` called before every write."""
        return replace(self, guard=guard)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def is_unavailable(self) -> bool:
        """Whether the last request to the store failed, by this folder or a copy that shares its outage state."""
        return self.retry.outage.since is not None

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder `name` exists; without a name, whether this folder exists."""
        info = self._do("look for", name, lambda: self.filesystem.get_file_info(self._path(name)))
        return bool(info.type != fs.FileType.NotFound)

    def list_files(self, suffix: str = "") -> list[str]:
        """Sorted names of this folder's files that end in `suffix`, without hidden ones. A missing folder has none."""
        return [info.base_name for info in self._list(fs.FileType.File, suffix)]

    def list_facts(self, suffix: str = "") -> list[FileFacts]:
        """The files of `list_files` with their sizes and modification times, in one request per thousand files."""
        listed = self._list(fs.FileType.File, suffix)
        return [FileFacts(info.base_name, info.size, info.mtime_ns or 0) for info in listed]

    def list_folders(self) -> list[str]:
        """Sorted names of this folder's subfolders, without hidden ones."""
        if isinstance(self.filesystem, fs.GcsFileSystem):
            found = self._do("list", "", lambda: folders_by_files(self.filesystem, self.path))
            return sorted(name for name in found if not _is_hidden(name))
        return [info.base_name for info in self._list(fs.FileType.Directory, "")]

    def read_bytes(self, name: str) -> bytes:
        return self._do("read", name, lambda: read_whole(self.filesystem, self._path(name)))

    def read_text(self, name: str) -> str:
        return self.read_bytes(name).decode("utf-8")

    def read_parquet(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The table in the file `name`, or its `columns` in the given order. A missing column is an error."""
        wanted = None if columns is None else list(columns)

        path = self._path(name)
        return self._do("read", name, lambda: read_table(self.filesystem, path, wanted))

    def fetch(self, file: FileFacts, target: Path) -> None:
        """Download a listed file to the local `target` atomically, in chunks that need little memory.

        An outage costs the chunks in flight. A file that changed since it was listed is an error.
        """
        path, persist = self._path(file.name), self._with_retry
        with self._reported("fetch", file.name):
            fetch_file(self.filesystem, path, file.size, target, persist)

    def write_bytes(self, name: str, data: bytes | memoryview) -> None:
        """Write the file atomically and create its parent folders."""
        if self.is_local:
            self._change("write", name, lambda: write_local(Path(self._path(name)), data))
        else:
            self._change("write", name, lambda: put_object(self.filesystem, self._path(name), (data,)))

    def upload(self, source: Path, name: str) -> None:
        """Upload the local file `source` as `name` atomically, in chunks that need little memory."""
        path = self._path(name)
        if self.is_local:
            self._change("write", name, lambda: copy_local(source, Path(path)))
        else:
            self._change("write", name, lambda: put_object(self.filesystem, path, chunks_of(source)))

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode("utf-8"))

    def write_parquet(self, name: str, table: pa.Table) -> None:
        """Write `table` atomically with zstd compression; it is encoded in memory first.

        Pages have checksums: without them a flipped bit in a page may be read as another text or number.
        """
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        self.write_bytes(name, memoryview(buffer.getvalue()))

    def move(self, name: str, new_name: str) -> None:
        """Rename a file. Atomic on a local disk; a copy and a delete in an object store."""
        if name == new_name:
            return
        if self.is_local:
            self._change("move", name, lambda: move_local(Path(self._path(name)), Path(self._path(new_name))))
            return
        self._change("move", name, lambda: self.filesystem.copy_file(self._path(name), self._path(new_name)))
        self.delete(name)

    def delete(self, name: str) -> None:
        """Delete a file. A missing file is no error."""

        def attempt() -> None:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(self._path(name))

        self._change("delete", name, attempt)

    def delete_folder(self, name: str) -> None:
        """Delete a folder recursively. A missing folder is no error."""

        def attempt() -> None:
            with suppress(FileNotFoundError):
                delete_all(self.filesystem, self._path(name))

        self._change("delete", name, attempt)

    def check_writable(self) -> None:
        """Write and delete a small hidden file, so that a run fails at its start if its results can't be written.

        Creates the folder where it is missing.
        """
        probe = f"_probe-{token_hex(6)}"
        self.write_bytes(probe, b"can this folder be written?")
        self.delete(probe)

    def _path(self, name: str) -> str:
        if name and not stays_inside(name):
            raise InputError(
                f"{redact(name)!r} is no name inside {self}. Fix: correct it in the record that contains it (run.json, "
                "sweep.json, a checkpoint's manifest) to a relative path without `..`."
            )
        return f"{self.path.rstrip('/')}/{name}" if name else self.path

    def _list(self, kind: fs.FileType, suffix: str) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self.path, allow_not_found=True)
        found = self._do("list", "", lambda: self.filesystem.get_file_info(selector))
        listed = [
            info
            for info in found
            if info.type == kind and info.base_name.endswith(suffix) and not _is_hidden(info.base_name)
        ]
        return sorted(listed, key=lambda info: info.base_name)

    def _change(self, action: str, name: str, attempt: Callable[[], None]) -> None:
        """Call the guard before every attempt: a lease may be lost while an operation is retried."""

        def allowed() -> None:
            if self.guard is not None:
                self.guard()
            attempt()

        self._do(action, name, allowed)

    def _do(self, action: str, name: str, attempt: Callable[[], T]) -> T:
        with self._reported(action, name):
            return self._with_retry(attempt)

    def _with_retry(self, attempt: Callable[[], T]) -> T:
        """The result of `attempt`, retried in object stores and not on a local disk."""
        return attempt() if self.is_local else self.retry.call(attempt)

    @contextmanager
    def _reported(self, action: str, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            kind = StoreUnavailableError if isinstance(error, RetriesExhaustedError) else StorageError
            reason_and_fix = explained(store_error_of(error), redact)
            raise kind(f"Can't {action} {redact(joined(self.uri, name))}: {reason_and_fix}") from error


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def open_folder(uri: str, retry: RetryPolicy | None = None) -> Folder:
    """The folder at `uri`; nothing is created.

    A relative local path starts at the working directory. The query of an s3:// URI may contain `endpoint_override`,
    `scheme`, `region` and more (`storage/uris.py`). Without an endpoint AWS_ENDPOINT_URL is used. The forms of Azure's
    URIs are in `storage/azure_uris.py`. Credentials belong in the environment rather than in the URI.

    Raises:
        InputError: the URI can't be parsed, or the package for its store is missing.
        StorageError: the region of a bucket can't be looked up.
    """
    retry = retry or RetryPolicy()
    filesystem, path = resolve(uri, retry)
    return Folder(filesystem, path, uri if "://" in uri else path, retry)


def read_uri(uri: str) -> bytes:
    """The bytes of the file at `uri`. Raises what `open_folder` and `read_bytes` raise."""
    folder, name = _folder_of(uri)
    return folder.read_bytes(name)


def write_uri(uri: str, data: bytes) -> None:
    """Write the file at `uri` atomically. Raises what `open_folder` and `write_bytes` raise."""
    folder, name = _folder_of(uri)
    folder.write_bytes(name, data)


def _folder_of(uri: str) -> tuple[Folder, str]:
    """The parent folder of the file at `uri`, and the file's name."""
    filesystem, path = resolve(uri, RetryPolicy())
    parent, _, name = path.rpartition("/")
    if not parent and "://" in uri and not isinstance(filesystem, fs.LocalFileSystem):
        raise InputError(f"{redact(uri)} names no file. Fix: add the file's name.")
    head, mark, query = uri.partition("?") if "://" in uri else (path, "", "")
    return Folder(filesystem, parent or "/", head.rpartition("/")[0] + mark + query), name
