"""Open blobs of Azure: an upload that appears when it is complete, and a reader of one version.

obstore limits the time of a whole request, and does not notice a stalled upload earlier. So an upload is sent in parts
whose time is limited. A part that a slow line sends in time is never aborted. A small file is one request with a short
limit: a stalled renewal of a lease must end before the lease expires.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
from obstore.store import AzureStore

from safechain_ray.storage.azure_errors import as_os_errors
from safechain_ray.storage.files import ReplacedError

if TYPE_CHECKING:
    from obstore import WritableFile

PART_BYTES = 4 * 2**20

PARALLEL_PARTS = 4

PART_TIMEOUT = "120s"
"""Longest time of one part. With four parts at once, a line of 140 kB/s is fast enough for each upload."""

SMALL_BYTES = 256 * 2**10

SMALL_TIMEOUT = "10s"
"""Longest time of the upload of a file of at most `SMALL_BYTES`; a third of the time that a lease lasts."""


@dataclass(frozen=True)
class UploadClients:
    """Clients of one container with the timeouts of small files and of parts."""

    small: AzureStore
    parts: AzureStore


class Upload:
    """Writable file. Its blob appears at `close` if all writes succeeded; an upload that is dropped leaves no blob."""

    def __init__(self, clients: UploadClients, name: str, content_type: str) -> None:
        self.closed = False
        self._clients, self._name = clients, name
        self._content_type = content_type
        self._held = bytearray()
        self._writer: WritableFile | None = None
        self._written = 0
        self._failed = False

    def write(self, data: bytes) -> int:
        try:
            with as_os_errors():
                self._send(memoryview(data).cast("B"))
        except BaseException:
            self._failed = True
            raise
        self._written += len(data)
        return len(data)

    def _send(self, data: memoryview) -> None:
        """Hold the first bytes, and send parts when the file is no small one.

        A writer of obstore waits for a free place once per call, and then sends all that it was given. So it gets one
        part at a time.
        """
        if self._writer is None:
            if len(self._held) + len(data) <= SMALL_BYTES:
                self._held += data
                return
            self._writer = obstore.open_writer(
                self._clients.parts,
                self._name,
                attributes={"Content-Type": self._content_type},
                buffer_size=PART_BYTES,
                max_concurrency=PARALLEL_PARTS,
            )
            if self._held:
                self._writer.write(bytes(self._held))
                self._held.clear()
        for start in range(0, len(data), PART_BYTES):
            self._writer.write(bytes(data[start : start + PART_BYTES]))

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
            if self._writer is not None:
                self._writer.close()
                return
            attributes = {"Content-Type": self._content_type}
            self._clients.small.put(self._name, bytes(self._held), attributes=attributes, use_multipart=False)


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
