"""A proxy before an HTTP server that a test lets fail: answers 503, stalls, or breaks an upload
or an answer off.

It passes bytes on as they are, so that requests keep their signatures.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from tests.loop_thread import loop_thread

Mode = Literal["passes", "unavailable", "stalls", "breaks uploads", "breaks downloads"]

DOWNLOADS_BREAK_AT = 100_000
"""Bytes of all answers of one connection."""

REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) \S+ HTTP/1\.1\r\n")
BODY = b'<?xml version="1.0"?><Error><Code>ServiceUnavailable</Code><Message>Come back later</Message></Error>'
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)


class FaultProxy:
    """`mode` may be set at any time. `requests` counts what was asked by method, `faults` what was made to fail.

    `most_uploads` is the largest number of uploads without an answer at one time.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.mode: Mode = "passes"
        self._to_fail = 0
        self._uploads_break_at = 100_000
        self._on_upload: Callable[[], None] | None = None
        self.requests: Counter[str] = Counter()
        self.faults = 0
        self.most_uploads = 0
        self._uploading: set[asyncio.StreamWriter] = set()
        self.port = 0

    def fail_next(self, count: int) -> None:
        """Answer 503 to the next requests."""
        self._to_fail = count

    def on_upload(self, size: int, act: Callable[[], None]) -> None:
        """Do something, once, when so many bytes of an upload have passed."""
        self._uploads_break_at, self._on_upload = size, act

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            await self._connected(client, to_client)
        to_client.transport.abort() if self.mode == "breaks uploads" else to_client.close()

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        answers = asyncio.create_task(self._pass_answers(server, to_client))
        uploaded = 0
        try:
            while data := await client.read(65536):
                found = REQUEST.match(data)
                if found is not None:
                    self.requests[found[1].decode()] += 1
                    uploaded = 0
                    if found[1] == b"PUT":
                        self._uploading.add(to_client)
                        self.most_uploads = max(self.most_uploads, len(self._uploading))
                uploaded += len(data)
                await self._while_stalled()
                if self.mode == "unavailable" or self._to_fail:
                    self._to_fail = max(0, self._to_fail - 1)
                    self.faults += 1
                    head_only = found is not None and found[1] == b"HEAD"
                    to_client.write(UNAVAILABLE + (b"" if head_only else BODY))
                    await to_client.drain()
                    return
                if uploaded >= self._uploads_break_at and self._on_upload is not None:
                    act, self._on_upload = self._on_upload, None
                    self.faults += 1
                    act()
                if uploaded >= self._uploads_break_at and self.mode == "breaks uploads":
                    self.faults += 1
                    return
                to_server.write(data)
                await to_server.drain()
        finally:
            self._uploading.discard(to_client)
            answers.cancel()
            to_server.transport.abort()

    async def _pass_answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        downloaded = 0
        with suppress(OSError):
            while data := await server.read(65536):
                await self._while_stalled()
                self._uploading.discard(to_client)
                downloaded += len(data)
                if downloaded >= DOWNLOADS_BREAK_AT and self.mode == "breaks downloads":
                    self.faults += 1
                    to_client.transport.abort()
                    return
                to_client.write(data)
                await to_client.drain()
            to_client.close()

    async def _while_stalled(self) -> None:
        if self.mode == "stalls":
            self.faults += 1
        while self.mode == "stalls":
            await asyncio.sleep(0.05)


@contextmanager
def proxied(server_port: int) -> Iterator[FaultProxy]:
    """The proxy in a thread of its own, on a free port."""
    proxy = FaultProxy(server_port)
    with loop_thread() as run:
        server = run(proxy.start())
        try:
            yield proxy
        finally:
            server.close()
