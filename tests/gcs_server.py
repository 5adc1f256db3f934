"""A real server of Google Cloud Storage's API for tests: gcp-storage-emulator, in a process of its own.

It takes any credentials, and answers one request at a time. It keeps what it holds in a folder, so that it can be
killed and started again with it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from tests.free_ports import free_ports

DEADLINE = 60.0

BUCKET = "bucket"


class GoogleServer:
    """The server; it makes the bucket at its first start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        program = str(Path(sys.executable).parent / "gcp-storage-emulator")
        command = [program, "start", "--host", "127.0.0.1", "--port", str(self.port), "--default-bucket", BUCKET]
        with open(self._folder / "server.log", "ab") as log:
            environment = {**os.environ, "STORAGE_BASE": str(self._folder)}
            self._process = subprocess.Popen([*command, "--quiet"], stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.05)

    def uri(self, path: str) -> str:
        return f"gs://anonymous@{BUCKET}/{path}?scheme=http&endpoint_override=127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Kill the server, also in the middle of a request."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/storage/v1/b/{BUCKET}", timeout=1) as answer:
            return bool(answer.status == 200)
        return False


@contextmanager
def google_store() -> Iterator[GoogleServer]:
    """A running server with its bucket."""
    with TemporaryDirectory(prefix="google-store-") as folder:
        server = GoogleServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
