"""A real server of Azure Blob Storage's API for tests: Azurite, in a process of its own.

Azurite is Microsoft's emulator, a package of npm. It checks keys and conditions, and commits the blocks of an upload at
its end. Without it these tests are skipped.
"""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.fault_proxy import FaultProxy, proxied
from tests.free_ports import free_ports

ENV = "SAFECHAIN_AZURITE"

DEADLINE = 60.0

ACCOUNT = "devstoreaccount1"

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key that Microsoft publishes for Azurite's account. It opens nothing else."""

CREDENTIALS = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}

API_VERSION = "2021-08-06"


class AzureServer:
    """The server, with what it holds in a folder."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [self._program, "--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--silent"]
        with open(self._folder / "server.log", "ab") as log:
            where = ["--location", str(self._folder), "--disableTelemetry"]
            self._process = subprocess.Popen([*command, *where], stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server, also in the middle of a request."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_until_saved(self, container: str) -> None:
        """Wait until the container would survive `kill`: Azurite saves names every 5 seconds, and files in between are
        lost with it.
        """
        names, deadline = self._folder / "__azurite_db_blob__.json", time.monotonic() + DEADLINE
        while not (names.exists() and f'"{container}"' in names.read_text()):
            assert time.monotonic() < deadline, "Azurite saves nothing"
            time.sleep(0.1)

    def create_container(self, name: str) -> None:
        with urlopen(self._signed("PUT", f"{name}?restype=container"), timeout=10) as answer:
            assert answer.status == 201

    def content_type(self, path: str) -> str | None:
        with urlopen(self._signed("HEAD", path), timeout=10) as answer:
            found: str | None = answer.headers["Content-Type"]
            return found

    def _answers(self) -> bool:
        with suppress(OSError), urlopen(self._signed("GET", "?comp=list"), timeout=1) as answer:
            return bool(answer.status == 200)
        return False

    def _signed(self, method: str, path: str) -> Request:
        """A request with the account's key. obstore cannot create containers."""
        name, _, query = path.partition("?")
        headers = {"x-ms-date": f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S GMT}", "x-ms-version": API_VERSION}
        lines = [method, *[""] * 11, *(f"{key}:{value}" for key, value in headers.items())]
        resource = [f"/{ACCOUNT}/{ACCOUNT}/{name}", *([query.replace("=", ":")] if query else [])]
        signature = _signature("\n".join([*lines, *resource]))
        headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
        return Request(f"http://127.0.0.1:{self.port}/{ACCOUNT}/{path}", method=method, headers=headers)


def sas_token(permissions: str) -> str:
    """A token of the account for blobs and containers, with permissions such as `rl` (read, list)."""
    fields = {"sp": permissions, "ss": "b", "srt": "co", "st": "", "se": "2099-01-01T00:00:00Z", "sip": "", "spr": ""}
    fields |= {"sv": API_VERSION, "ses": ""}
    fields["sig"] = _signature("\n".join([ACCOUNT, *fields.values(), ""]))
    return urlencode({name: value for name, value in fields.items() if value})


def _signature(text: str) -> str:
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class AzureStore:
    """A container on a running server, reached through a proxy that can fail."""

    server: AzureServer
    proxy: FaultProxy
    container: str = "container"

    def uri(self, path: str) -> str:
        return f"az://{self.container}/{path}?endpoint=http://127.0.0.1:{self.proxy.port}/{ACCOUNT}"


def find_azurite() -> str:
    """Azurite's program for blobs. Skips the test where there is none."""
    if find_spec("obstore") is None:
        pytest.skip("no obstore: install the extra (pip install 'safechain-ray[azure]')")
    program = os.environ.get(ENV) or shutil.which("azurite-blob")
    if program is None or not Path(program).exists():
        pytest.skip(f"no Azurite: install it (npm install -g azurite), or name its azurite-blob in {ENV}")
    return program


@contextmanager
def azure_store() -> Iterator[AzureStore]:
    """A server with one container, and the proxy before it."""
    program = find_azurite()
    with TemporaryDirectory(prefix="azurite-", ignore_cleanup_errors=True) as folder:
        server = AzureServer(program, Path(folder))
        try:
            server.start()
            with proxied(server.port) as proxy:
                store = AzureStore(server, proxy)
                server.create_container(store.container)
                yield store
        finally:
            server.kill()
