"""A Ray that a command starts on its machine: only who has its token may use it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVE = """
import sys
from safechain_ray.cluster.session import ray_session
with ray_session(None):
    import ray
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""
JOIN = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
print(ray.get(ray.remote(lambda: "joined").remote()))
"""


@dataclass(frozen=True)
class LocalRay:
    address: str
    environment: dict[str, str]

    def join(self, **environment: str) -> "subprocess.Popen[str]":
        """Start another driver on this Ray."""
        command = (sys.executable, "-c", JOIN, self.address)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment | environment, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def local_ray(tmp_path: Path) -> Iterator[LocalRay]:
    """A local Ray of a user who never made a token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = kept | {"HOME": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen((sys.executable, "-c", SERVE), env=environment, stdin=pipe, stdout=pipe, text=True) as driver:
        assert driver.stdout is not None
        yield LocalRay(driver.stdout.readline().strip(), environment)
        driver.communicate(timeout=60)


def test_only_who_has_the_token_of_a_local_ray_may_use_it(local_ray: LocalRay) -> None:
    wrong = local_ray.join(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    without = local_ray.join(RAY_AUTH_MODE="disabled")
    right = local_ray.join(RAY_AUTH_MODE="token")
    assert right.communicate(timeout=60)[0] == "joined\n"
    for refused in (wrong, without):  # Ray tries for 20 s before it gives up
        assert "Failed to connect to Ray cluster" in refused.communicate(timeout=120)[1]
