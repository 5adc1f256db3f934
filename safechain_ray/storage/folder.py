"""One folder of files at any URI, where a name shows a whole file or no file.

What a write guarantees:
- Local: the bytes go to a hidden file beside the target, are flushed to the disk (fsync), and take the target's name in
  one rename. Readers see the old file or the new one. A failed write removes its hidden file; a killed process leaves
  it behind under a name (`.NAME.*.tmp`) that `list_files`, Ray Data, `datasets` and DuckDB pass over. The folder itself
  is not flushed: after a power cut the last rename may be gone, never torn.
- Object stores: an object appears when its upload is complete, so the bytes go up whole in one upload under the final
  name. A killed process leaves nothing visible. What fails on the way and may pass (no connection, 5xx, throttling, an
  upload that breaks) is done again whole, for as long as the folder's patience lasts.
- Two writers of one name: the later one wins.
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

from safechain_ray.errors import InputError, StorageError, StoreSilentError
from safechain_ray.storage.files import (
    FileFacts,
    copy_local,
    delete_all,
    fetch_file,
    folders_by_files,
    move_local,
    pieces_of,
    put_object,
    read_table,
    read_whole,
    write_local,
)
from safechain_ray.storage.retry import OutageState, Patience, Report, UnansweredError, store_error_of
from safechain_ray.storage.uris import joined, redact, resolve, stays_inside

T = TypeVar("T")

_LOCAL_MEND = "Choose another folder, or give this user the right to write there."


@dataclass(frozen=True)
class Folder:
    """A folder, which need not exist yet. Picklable, and with it the credentials that its URI may hold.

    `path` is the folder inside `filesystem`, as Ray Data and pyarrow take it. `uri` is what the user gave: it may hold
    secrets, so messages use `str(folder)`. Every method raises StorageError, which names the place, the reason and what
    to do; StoreSilentError where an object store did not answer for as long as `patience` lasts. InputError for a name
    that leads out of the folder, before anything is read or written.

    `guard` is called before every change and may refuse it by raising; copies in other processes have none.
    """

    filesystem: fs.FileSystem = field(repr=False)
    path: str
    uri: str = field(repr=False)
    patience: Patience = field(default_factory=Patience, compare=False, repr=False)
    guard: Callable[[], None] | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "guard": None}

    def __str__(self) -> str:
        return redact(self.uri)

    def __truediv__(self, name: str) -> "Folder":
        """The folder called `name` inside this one."""
        return replace(self, path=self._path(name), uri=joined(self.uri, name))

    def patient(self, seconds: float, report: Report | None = None) -> "Folder":
        """The same folder that waits so long for a store, and says so where it has to."""
        return replace(self, patience=Patience(seconds, OutageState(report, seconds)))

    def impatient(self) -> "Folder":
        """The same folder that tries everything once; whether the store answers is noted for the patient one too."""
        return replace(self, patience=replace(self.patience, seconds=0))

    def guarded(self, guard: Callable[[], None]) -> "Folder":
        """The same folder, where `guard` is asked before every change."""
        return replace(self, guard=guard)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def is_silent(self) -> bool:
        """Whether the store did not answer when it was last asked, by this folder or one made from it."""
        return self.patience.silence.since is not None

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or a folder called `name`; without a name, whether this folder is there."""
        info = self._do("look for", name, lambda: self.filesystem.get_file_info(self._path(name)))
        return bool(info.type != fs.FileType.NotFound)

    def list_files(self, suffix: str = "") -> list[str]:
        """The sorted names of the files right here that end in `suffix`, without hidden ones; none without a folder."""
        return [info.base_name for info in self._list(fs.FileType.File, suffix)]

    def list_facts(self) -> list[FileFacts]:
        """The same files with their sizes and times, in one request for each thousand."""
        return [FileFacts(info.base_name, info.size, info.mtime_ns or 0) for info in self._list(fs.FileType.File, "")]

    def list_folders(self) -> list[str]:
        """The sorted names of the folders right here, hidden ones left out."""
        if isinstance(self.filesystem, fs.GcsFileSystem):
            found = self._do("list", "", lambda: folders_by_files(self.filesystem, self.path))
            return sorted(name for name in found if not _is_hidden(name))
        return [info.base_name for info in self._list(fs.FileType.Directory, "")]

    def read_bytes(self, name: str) -> bytes:
        return self._do("read", name, lambda: read_whole(self.filesystem, self._path(name)))

    def read_text(self, name: str) -> str:
        return self.read_bytes(name).decode("utf-8")

    def read_parquet(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The table in the file `name`, or `columns` of it, in that order. A column that is not there is an error."""
        wanted = None if columns is None else list(columns)

        path = self._path(name)
        return self._do("read", name, lambda: read_table(self.filesystem, path, wanted))

    def fetch(self, file: FileFacts, target: Path) -> None:
        """Bring a listed file to the local `target`, whole or not at all, in pieces that need little memory.

        An outage costs the pieces under way. A file that is no longer the listed one is an error.
        """
        path, persist = self._path(file.name), self._persist
        with self._reported("fetch", file.name):
            fetch_file(self.filesystem, path, file.size, target, persist)

    def write_bytes(self, name: str, data: bytes | memoryview) -> None:
        """Write the file whole or not at all (see the module), making the folders above it."""
        if self.is_local:
            self._change("write", name, lambda: write_local(Path(self._path(name)), data))
        else:
            self._change("write", name, lambda: put_object(self.filesystem, self._path(name), (data,)))

    def upload(self, source: Path, name: str) -> None:
        """Write the local file `source` as `name`, whole or not at all, in pieces that need little memory."""
        path = self._path(name)
        if self.is_local:
            self._change("write", name, lambda: copy_local(source, Path(path)))
        else:
            self._change("write", name, lambda: put_object(self.filesystem, path, pieces_of(source)))

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
        if self.is_local:
            self._change("move", name, lambda: move_local(Path(self._path(name)), Path(self._path(new_name))))
            return
        self._change("move", name, lambda: self.filesystem.copy_file(self._path(name), self._path(new_name)))
        self.delete(name)

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens where there is none."""

        def attempt() -> None:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(self._path(name))

        self._change("delete", name, attempt)

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all that is in it; nothing happens where there is none."""

        def attempt() -> None:
            with suppress(FileNotFoundError):
                delete_all(self.filesystem, self._path(name))

        self._change("delete", name, attempt)

    def check_writable(self) -> None:
        """Write a small hidden file and delete it again, so that a run learns at its start that it can't be kept.

        Makes the folder where it is missing. Raises StorageError with what to do.
        """
        probe = f"_probe-{token_hex(6)}"
        try:
            self.write_bytes(probe, b"can this folder be written?")
            self.delete(probe)
        except StorageError as error:
            if self.is_local:
                raise StorageError(f"{error} {_LOCAL_MEND}") from error
            raise

    def _path(self, name: str) -> str:
        if name and not stays_inside(name):
            raise InputError(
                f"{redact(name)!r} is no name inside {self}. Fix: correct it in the record that has it (run.json, "
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
        """The guard is asked before every try: much may have happened while a store was waited for."""

        def allowed() -> None:
            if self.guard is not None:
                self.guard()
            attempt()

        self._do(action, name, allowed)

    def _do(self, action: str, name: str, attempt: Callable[[], T]) -> T:
        with self._reported(action, name):
            return self._persist(attempt)

    def _persist(self, attempt: Callable[[], T]) -> T:
        """What `attempt` gives: at once on a local disk, with patience in a store."""
        return attempt() if self.is_local else self.patience.persist(attempt)

    @contextmanager
    def _reported(self, action: str, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            silent = isinstance(error, UnansweredError)
            reason = str(error) if silent else store_error_of(error).reason
            kind = StoreSilentError if silent else StorageError
            raise kind(f"Can't {action} {redact(joined(self.uri, name))}: {redact(reason)}.") from error


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def open_folder(uri: str, patience: Patience | None = None) -> Folder:
    """The folder at `uri`, which waits for its store as `patience` says; nothing is created.

    A local path that is relative counts from the working folder. The query of an s3:// URI may hold
    `endpoint_override`, `scheme`, `region` and more (`storage/uris.py`); without an endpoint AWS_ENDPOINT_URL is taken.
    Credentials are better kept in the environment. Raises InputError for a URI that can't be read as one, StorageError
    where a bucket's region has to be looked up and can't.
    """
    patience = patience or Patience()
    filesystem, path = resolve(uri, patience)
    return Folder(filesystem, path, uri if "://" in uri else path, patience)


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
    filesystem, path = resolve(uri, Patience())
    parent, _, name = path.rpartition("/")
    head, mark, query = uri.partition("?") if "://" in uri else (path, "", "")
    return Folder(filesystem, parent or "/", head.rpartition("/")[0] + mark + query), name
