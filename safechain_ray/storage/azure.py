"""Azure Blob Storage as a pyarrow file system, over the package obstore (extra `azure`).

pyarrow's own AzureFileSystem replaces a blob by an empty one when a write begins. A killed writer or a broken upload
then destroys the old file. obstore commits the parts of an upload at its end.

Guarantees:
1. A blob appears, or is replaced, when its upload is complete.
2. An open file reads one version: each range is requested with If-Match. A replaced blob raises ReplacedError.
3. Errors are OSErrors with Azure's code, which `retry.py` classifies. obstore's own retries are off.
4. `repr` and pickled copies contain no secret. A copy takes the credentials from the environment of its process.

Known trade-offs:
- A file that is copied passes through this machine. Azure's own copy may be pending when it answers, and a caller that
  moves a file deletes the source next.
- A forked child process hangs at its first request, because obstore's threads are missing there. Start child processes
  with `spawn`, as Ray does.
"""

import errno
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from obstore.store import AzureStore
from pyarrow import fs

from safechain_ray.storage.azure_errors import as_os_errors
from safechain_ray.storage.azure_files import PART_TIMEOUT, SMALL_TIMEOUT, Upload, UploadClients, Version
from safechain_ray.storage.azure_uris import Location, refuse_line_breaks
from safechain_ray.storage.files import CHUNK_BYTES

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import AzureConfig, ClientConfig

CONNECT_TIMEOUT = "5s"

READ_TIMEOUT = "10s"
"""Longest time without a byte of an answer. It would end slow uploads too, so these have a client of their own."""

DOWNLOAD_TIMEOUT = "1h"

BATCH = 256
"""Azure deletes at most this number of blobs per request."""


class AzureHandler(fs.FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    """The file system of a container. Paths begin with the container's name. A folder exists while it has blobs."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._store = _connect(location, {"read_timeout": READ_TIMEOUT, "timeout": DOWNLOAD_TIMEOUT})
        small, parts = (_connect(location, {"timeout": timeout}) for timeout in (SMALL_TIMEOUT, PART_TIMEOUT))
        self._uploads = UploadClients(small, parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return AzureHandler, (self.location,)

    def __repr__(self) -> str:
        return f"AzureHandler({self.location})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AzureHandler) and self.location == other.location

    def __ne__(self, other: object) -> bool:  # pyarrow calls it by name
        return not self == other

    def __hash__(self) -> int:
        return hash(self.location)

    def get_type_name(self) -> str:
        return "azure"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> fs.FileInfo:
        with suppress(FileNotFoundError), as_os_errors():
            if name := _blob(path):
                return _file_info(path, self._store.head(name))
        with as_os_errors():
            first = next(iter(self._store.list(name or None)), None)  # an error if the container does not exist
        is_folder = not name or first
        return fs.FileInfo(path, fs.FileType.Directory if is_folder else fs.FileType.NotFound)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        container, _, name = selector.base_dir.rstrip("/").partition("/")
        folders: Sequence[str] = ()
        with as_os_errors():
            if selector.recursive:
                files = self._store.list(name).collect()
            else:
                listed = self._store.list_with_delimiter(name)
                files, folders = listed["objects"], listed["common_prefixes"]
        if not (files or folders or selector.allow_not_found):
            raise FileNotFoundError(errno.ENOENT, "there is no such folder", selector.base_dir)
        return [
            *(_file_info(f"{container}/{file['path']}", file) for file in files),
            *(fs.FileInfo(f"{container}/{folder}", fs.FileType.Directory) for folder in folders),
        ]

    def open_version(self, path: str) -> Version:
        with as_os_errors():
            name = _blob(path)
        return Version(self._store, name)

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(self.open_version(path), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Mapping[bytes, bytes] | None) -> pa.NativeFile:
        content_type = dict(metadata or {}).get(b"Content-Type", b"application/octet-stream")
        return pa.PythonFile(self._open_upload(path, content_type.decode()), mode="w")

    def _open_upload(self, path: str, content_type: str) -> Upload:
        with as_os_errors():
            name = _blob(path)
        return Upload(self._uploads, name, content_type)

    def copy_file(self, source: str, target: str) -> None:
        version, upload = self.open_version(source), self._open_upload(target, "application/octet-stream")
        while data := version.read(CHUNK_BYTES):
            upload.write(data)
        upload.close()

    def delete_file(self, path: str) -> None:
        with as_os_errors():
            self._store.delete(_blob(path))

    def delete_dir(self, path: str) -> None:
        """Delete the blobs below `path`. Blobs that another process deletes meanwhile are no error."""
        with as_os_errors():
            for page in self._store.list(_blob(path), chunk_size=BATCH):
                names = [file["path"] for file in page]
                try:
                    self._store.delete(names)
                except FileNotFoundError:
                    for name in names:
                        with suppress(FileNotFoundError):
                            self._store.delete(name)

    def create_dir(self, path: str, recursive: bool) -> None:
        """Nothing to do: folders are prefixes of names."""

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self.delete_dir(path)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("a whole account is never deleted")

    def move(self, source: str, target: str) -> None:
        raise NotImplementedError("blobs are copied and deleted")

    def open_append_stream(self, path: str, metadata: Mapping[bytes, bytes] | None) -> pa.NativeFile:
        raise NotImplementedError("blobs are written whole")


def open_azure(location: Location) -> fs.PyFileSystem:
    """The file system of a container. Nothing is requested.

    Raises:
        OSError: a credential of the environment is malformed.
    """
    return fs.PyFileSystem(AzureHandler(location))


def _connect(location: Location, timeouts: "ClientConfig") -> AzureStore:
    """A client with the credentials of the environment (AZURE_*), or of the machine's managed identity."""
    config: AzureConfig = {"account_name": location.account}
    if location.endpoint:
        config["endpoint"] = location.endpoint
    if location.anonymous:
        config["skip_signature"] = True
    allow_http = location.endpoint.startswith("http://")
    refuse_line_breaks()
    with as_os_errors():
        return AzureStore(
            location.container,
            config=config,
            client_options={**timeouts, "connect_timeout": CONNECT_TIMEOUT, "allow_http": allow_http},
            retry_config={"max_retries": 0},  # RetryPolicy retries and reports
        )


def _blob(path: str) -> str:
    """The name inside the container. Raises ValueError for a backslash, which Azure stores as a slash."""
    if "\\" in path:
        raise ValueError("Azure stores a backslash in a name as a slash")
    return path.partition("/")[2].rstrip("/")


def _file_info(path: str, facts: "ObjectMeta") -> fs.FileInfo:
    return fs.FileInfo(path, fs.FileType.File, size=facts["size"], mtime=facts["last_modified"].timestamp())
