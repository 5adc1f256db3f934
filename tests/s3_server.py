"""A real S3 server for tests: OpenStack Swift (account, container, object and proxy servers) on ports of its own.

Its S3 API checks keys and signatures, lists, uploads in parts and deletes in bulk as other stores do. It lives in a
temporary folder, is up in some two seconds, and can be frozen, killed and started again with what it held.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from pyarrow import fs

from tests.fault_proxy import FaultProxy, proxied
from tests.free_ports import free_ports

USER, SECRET = "test:tester", "testing"

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": USER,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",  # no machine of Amazon's is asked for a role
}
"""What the usual chain finds. The endpoint stands in the URIs, or in AWS_ENDPOINT_URL."""

BACKENDS = ("account", "container", "object")

BACKEND_CONFIG = """
[DEFAULT]
devices = {folder}/disks
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
user = {user}
log_name = {name}
log_level = ERROR
log_address = {folder}/no-syslog

[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
replication_server = false
"""

PROXY_CONFIG = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
user = {user}
log_level = ERROR
log_address = {folder}/no-syslog

[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth copy slo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 0

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{name} = {secret} .admin
user_{account}_guest = guesting
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
allow_async_delete = false
"""

SWIFT_CONFIG = """
[swift-hash]
swift_hash_path_suffix = test
swift_hash_path_prefix = test
"""

DEADLINE = 60.0


class S3Server:
    """The four servers; `port` is the S3 API's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip((*BACKENDS, "proxy"), free_ports(4), strict=True))
        self.port = self.ports["proxy"]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._configure()

    def start(self) -> None:
        """Start the servers and wait until they answer."""
        for name in (*BACKENDS, "proxy"):
            command = [str(Path(sys.executable).parent / f"swift-{name}-server"), str(self.folder / f"{name}.conf")]
            with open(self.folder / f"{name}.log", "ab") as log:
                self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=_environment()))
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert time.monotonic() < deadline, self._logs()
            assert all(process.poll() is None for process in self._processes), self._logs()
            time.sleep(0.05)

    def kill(self) -> None:
        """End them in the middle of whatever they do."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes = []

    def freeze(self) -> None:
        """They keep their connections, take new ones, and say nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        for process in self._processes:
            process.send_signal(number)

    def _answers(self) -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/healthcheck", timeout=1) as answer:
            return all(_listens(port) for port in self.ports.values()) and bool(answer.status == 200)
        return False

    def _configure(self) -> None:
        (self.folder / "disks" / "disk").mkdir(parents=True)
        (self.folder / "swift.conf").write_text(SWIFT_CONFIG)
        user = _user()
        account, _, name = USER.partition(":")
        for backend in BACKENDS:
            config = BACKEND_CONFIG.format(folder=self.folder, port=self.ports[backend], user=user, name=backend)
            (self.folder / f"{backend}.conf").write_text(config)
            _build_ring(self.folder / f"{backend}.ring.gz", self.ports[backend])
        fields = {"folder": self.folder, "port": self.port, "user": user, "account": account, "name": name}
        (self.folder / "proxy.conf").write_text(PROXY_CONFIG.format(**fields, secret=SECRET))

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))


@dataclass(frozen=True, slots=True)
class Store:
    """A bucket on a running server, reached through a proxy that can fail."""

    server: S3Server
    proxy: FaultProxy
    bucket: str = "bucket"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find the store and its keys, as with any store that is not Amazon's."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy.port}"}

    def uri(self, path: str, keys: str = "") -> str:
        """The place with its endpoint; `keys` (`ID:SECRET`, percent-encoded) other than those of the environment."""
        place = f"endpoint_override=127.0.0.1:{self.proxy.port}&scheme=http&region=us-east-1"
        return f"s3://{keys}{'@' if keys else ''}{self.bucket}/{path}?{place}"

    def direct(self) -> fs.S3FileSystem:
        """The store without the proxy."""
        return fs.S3FileSystem(
            access_key=USER,
            secret_key=SECRET,
            region="us-east-1",
            scheme="http",
            endpoint_override=f"127.0.0.1:{self.server.port}",
            allow_bucket_creation=True,
        )


@contextmanager
def s3_store() -> Iterator[Store]:
    """A server with one bucket, and the proxy before it."""
    folder = Path(tempfile.mkdtemp(prefix="swift-", dir=_in_memory()))
    server = S3Server(folder)
    try:
        server.start()
        with proxied(server.port) as proxy:
            store = Store(server, proxy)
            store.direct().create_dir(store.bucket)
            yield store
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _in_memory(folder: str = "/dev/shm") -> str | None:
    """A folder in memory where there is one that takes the attributes that Swift gives to files; it flushes each."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            os.setxattr(file.name, "user.swift.metadata", b"x" * 1024)
    except OSError:
        return None
    return folder


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


BUILD_RING = """
import sys
from swift.common.ring import RingBuilder

path, port = sys.argv[1], int(sys.argv[2])
builder = RingBuilder(4, 1, 0)
builder.add_dev(
    {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1.0}
    | {"replication_ip": "127.0.0.1", "replication_port": port, "meta": ""}
)
builder.rebalance()
builder.get_ring().save(path)
"""
"""Where things are kept: on one disk, once. In a process of its own, because Swift imports parts of urllib anew."""


def _build_ring(path: Path, port: int) -> None:
    subprocess.run([sys.executable, "-c", BUILD_RING, str(path), str(port)], check=True)


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _environment() -> dict[str, str]:
    hidden = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")
    return {name: value for name, value in os.environ.items() if name not in hidden}
