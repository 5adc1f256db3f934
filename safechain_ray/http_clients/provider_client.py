"""The HTTP client for API providers: bounded answers, from the given host alone, without the secrets that were sent.

Three failures made this module necessary. A body of blanks took 6.3 GB, and a gzip bomb of 2 MB took 3.9 GB. A redirect
carried prompts to another host, whose answer was taken as the model's. Keys that a server quoted reached samples.

1. An answer is read up to a limit of bytes, compressed or not. The limit counts decompressed bytes.
2. An answer is read for at most `LONGEST` times the timeout, also where single bytes keep arriving.
3. Redirects are not followed.
4. Body and headers are free of the client's secrets before any other code reads them.
"""

import asyncio
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from openai import APITimeoutError, DefaultAsyncHttpxClient, OpenAIError

from safechain_ray.types.known_secrets import KnownSecrets

MIB = 2**20

USUAL_BYTES = 16 * MIB
"""The limit outside of `limited_to`: lists of models are the longest of these answers."""

LONGEST = 2
"""The most that reading a whole answer may take, in timeouts of one read."""

_UNFIT_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})

_most_bytes: ContextVar[int] = ContextVar("_most_bytes", default=USUAL_BYTES)


class AnswerTooLongError(OpenAIError):
    """The answer exceeds the limit of bytes. The SDK passes this error on and does not send the request again."""


class RedirectedError(OpenAIError):
    """The server redirects to another address."""

    def __init__(self, status: int, target: str) -> None:
        super().__init__(
            f"the endpoint redirects to {target}; redirects are not followed, because prompts and key would go there"
        )
        self.status = status


@contextmanager
def limited_to(most_bytes: int) -> Iterator[None]:
    """Within the block, answers may have at most `most_bytes`."""
    token = _most_bytes.set(most_bytes)
    try:
        yield
    finally:
        _most_bytes.reset(token)


class ProviderClient(DefaultAsyncHttpxClient):
    """The SDK's client with the guarantees of this module.

    Raises AnswerTooLongError, RedirectedError, APITimeoutError, and errors of httpx.
    """

    def __init__(self, secrets: KnownSecrets, timeout: float, **options: Any) -> None:
        super().__init__(timeout=timeout, follow_redirects=False, **options)
        self._secrets = secrets
        self._longest_seconds = LONGEST * timeout
        for library in ("httpx2", "httpcore2", "httpx", "httpcore"):
            # Their lines quote a server's headers and status line as received.
            logging.getLogger(library).setLevel(logging.WARNING)

    async def send(self, request: Any, **options: Any) -> Any:
        request.headers["Accept-Encoding"] = "gzip"
        try:
            async with asyncio.timeout(self._longest_seconds):
                response = await super().send(request, **(options | {"stream": True, "follow_redirects": False}))
                try:
                    return await self._read_response(response, request)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise APITimeoutError(request=request) from None

    async def _read_response(self, response: Any, request: Any) -> Any:
        """The whole response, cleaned."""
        headers = [
            (name, self._secrets.removed_from_bytes(value))
            for name, value in response.headers.raw
            if name.lower() not in _UNFIT_HEADERS
        ]
        if response.is_redirect:
            raise RedirectedError(response.status_code, _target(dict(headers)))
        body = await _bounded_body(response, _most_bytes.get())
        return type(response)(
            response.status_code, headers=headers, content=self._secrets.removed_from_bytes(body), request=request
        )


async def _bounded_body(response: Any, most: int) -> bytes:
    """The decompressed body. Raises AnswerTooLongError."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise OpenAIError(f"the answer is compressed by {encoding[:40]!r}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        try:
            # One byte more than allowed, so that an answer of exactly `most` bytes passes.
            body += chunk if unpacker is None else unpacker.decompress(chunk, most + 1 - len(body))
        except zlib.error as error:
            raise OpenAIError(f"the answer is not gzip, as its header says: {error}") from None
        if unpacker is not None and unpacker.unused_data:  # zlib collects all that follows, without a limit
            raise OpenAIError("the answer has bytes after the end of its gzip data")
        if len(body) > most:
            raise AnswerTooLongError(f"the answer is longer than {most / MIB:.1f} MiB, the most for this request")
    return bytes(body)


def _target(headers: dict[bytes, bytes]) -> str:
    """Scheme, host and port that a redirect names; path and query may hold secrets of others."""
    location = next((value for name, value in headers.items() if name.lower() == b"location"), b"").decode("latin-1")
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an address that is no URL"
    if not host:
        return "another path of its host"
    return f"{parts.scheme or 'http'}://{host}{'' if port is None else f':{port}'}"[:100]
