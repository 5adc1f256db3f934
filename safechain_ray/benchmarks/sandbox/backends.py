"""Which way of building the sandbox works on this machine, found by trying: what is promised is seen to hold."""

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from safechain_ray.benchmarks.sandbox.bubblewrap import Bubblewrap, Way
from safechain_ray.errors import SandboxError

NOBODY = 65534

# Systemd leaves user ids from here on to nobody: https://systemd.io/UIDS-GIDS.
FREE_USERS = 0x70000000
FREE_USERS_OF_CONTAINERS = 60_000
"""where fewer ids are mapped, as in a container without root's rights on the machine"""

MEND = (
    "It takes bubblewrap (Debian, Ubuntu: apt install bubblewrap) and a kernel that lets its user make namespaces; "
    "docs/sandbox.md says how to allow that in containers, on Kubernetes and on Ubuntu 24.04."
)


def ways() -> Iterator[Way]:
    """Those that come into question, best first.

    Linux doesn't count the processes of its root, even in a user namespace where root is somebody else: so a
    caller who is root either does without one, and the program becomes another user, or is another user from the start.
    """
    if os.geteuid() != 0:
        yield Way("a user namespace", user_namespace=True)
        return
    yield Way("root's own namespaces", user_namespace=False)
    yield Way("a user namespace of nobody", user_namespace=True, started_as=NOBODY)
    yield Way("a user namespace of a root who is none on the machine", user_namespace=True)


def user_of(way: Way) -> int | None:
    """The user id that the launcher has to become, a new one each time; None where the namespace sees to that."""
    if way.user_namespace:
        return None
    mapped = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
    if mapped > FREE_USERS + 2**24:
        return FREE_USERS + secrets.randbelow(2**24)
    return FREE_USERS_OF_CONTAINERS + secrets.randbelow(5000)


def find_bubblewrap() -> Bubblewrap | None:
    path = shutil.which("bwrap")
    if path is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout  # "bubblewrap 0.8.0"
    return Bubblewrap(path, tuple(map(int, re.findall(r"\d+", said))))


@cache
def working_way() -> tuple[Bubblewrap, Way]:
    """The installed bubblewrap and the first way that holds, tried once a process. Raises SandboxError for none."""
    from safechain_ray.benchmarks.sandbox.self_test import fault_of

    bwrap = find_bubblewrap()
    if bwrap is None:
        raise SandboxError(f"No code of a model is run: bubblewrap (`bwrap`) is not on PATH. {MEND}")
    faults = []
    for way in ways():
        fault = fault_of(bwrap, way)
        if fault is None:
            return bwrap, way
        faults.append(f"\n  {way.name}: {fault}")
    raise SandboxError(f"No code of a model is run: no sandbox holds on this machine.{''.join(faults)}\n{MEND}")


def require_sandbox() -> None:
    """Raises SandboxError, with the fix, where no sandbox works."""
    working_way()


def why_no_sandbox() -> str | None:
    """Why no sandbox works here, None where one does."""
    try:
        working_way()
    except SandboxError as error:
        return str(error)
    return None
