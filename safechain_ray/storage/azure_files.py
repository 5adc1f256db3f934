"""Open blobs of Azure: an upload that appears when it is complete, and a reader of one version.

obstore limits the time of a whole request, and does not notice a stalled upload earlier. So an upload is sent in parts
whose time is limited. A part that a slow line sends in time is never aborted.
"""

from typing import TYPE_CHECKING

import obstore
from obstore.store import AzureStore

from safechain_ray.storage.azure_errors import as_os_errors
from safechain_ray.storage.files import ReplacedError

if TYPE_CHECKING:
    from obstore import WritableFile

PART_BYTES = 4 * 2**20

PARALLEL_PARTS = 4

UPLOAD_TIMEOUT = "120s"
"""Longest time of one part. With four parts at once, a line of 140 kB/s is fast enough for each upload."""


def open_upload(store: AzureStore, name: str, content_type: str) -> "Upload":
    with as_os_errors():
        writer = obstore.open_writer(
            store,
            name,
            attributes={"Content-Type": content_type},
            buffer_size=PART_BYTES,
            max_concurrency=PARALLEL_PARTS,
        )
    return Upload(writer)


class Upload:
    """Writable file. Its blob appears at `close` if all writes succeeded; an upload that is dropped leaves no blob."""

    def __init__(self, writer: "WritableFile") -> None:
        self.closed = False
        self._writer = writer
        self._written = 0
        self._failed = False

    def write(self, data: bytes) -> int:
        try:
            with as_os_errors():
                self._writer.write(bytes(data))
        except BaseException:
            self._failed = True
            raise
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing to do: a part is sent when it is full, the last one by `close`."""

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._failed:
            raise OSError("the upload is incomplete, because one of its writes failed")
        with as_os_errors():
            self._writer.close()


class Version:
    """Readable file over the version of a blob that was current when it was opened. `read_at` is safe in threads."""

    def __init__(self, store: AzureStore, path: str) -> None:
        self.closed = False
        self._store, self._path, self._position = store, path, 0
        with as_os_errors():
            found = store.head(path)
        self._size, self.tag = found["size"], found["e_tag"]

    def size(self) -> int:
        return self._size

    def read_at(self, length: int, offset: int) -> bytes:
        end = min(offset + length, self._size)
        if end <= offset:
            return b""
        with as_os_errors(precondition=ReplacedError("it was replaced while it was read")):
            return (
                self._store.get(self._path, options={"range": (offset, end), "if_match": self.tag}).bytes().to_bytes()
            )

    def read(self, size: int | None = None) -> bytes:
        data = self.read_at(self._size if size is None or size < 0 else size, self._position)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        self.closed = True
