"""The command line that builds the sandbox: bubblewrap's, with Python's own files and nothing else to be seen."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from safechain_ray.benchmarks.sandbox.limits import Limits

LIBRARIES = "/libraries"
"""Where packages lie that programs may import beside the standard library."""

PACKAGES = ("numpy",)
"""Solutions of contest problems import it, as the published environments let them."""

SCRATCH = "/tmp"

ENVIRONMENT = {
    "HOME": SCRATCH,
    "LD_LIBRARY_PATH": "/python/lib",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/python/bin",
    "PYTHONHASHSEED": "0",  # the order of a set is part of some answers, and the same answer gets the same grade
}


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """An installed bubblewrap. Before 0.7 it can't bound a scratch, so that programs then have none to write to."""

    path: str
    version: tuple[int, ...]

    @property
    def has_scratch(self) -> bool:
        return self.version >= (0, 7)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to get a sandbox: what bubblewrap is started as, and who the program runs as."""

    name: str
    user_namespace: bool
    started_as: int | None = None
    """user id that bubblewrap is started with, None for the caller's own"""


def command(bwrap: Bubblewrap, way: Way, limits: Limits, filter_fd: int, status_fd: int, handed_fd: int) -> list[str]:
    """To be run without an environment. The descriptors: the filter, for bubblewrap's status, for the launcher."""
    scratch = ("--perms", "1777", "--size", str(limits.scratch), "--tmpfs") if bwrap.has_scratch else ("--dir",)
    return [
        bwrap.path,
        *_namespaces(way),
        *("--die-with-parent", "--new-session", "--hostname", "sandbox"),
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        *_mounts(),
        *(*scratch, SCRATCH),
        *("--remount-ro", "/", "--chdir", SCRATCH),
        *("--seccomp", str(filter_fd), "--json-status-fd", str(status_fd)),
        # -P -s -S: no folder of the user, of the project or of site-packages is on the path.
        *("/python/bin/python3", "-P", "-s", "-S", "-X", "utf8", "-c", _launcher(), str(handed_fd)),
    ]


def rlimits(limits: Limits, way: Way) -> list[tuple[str, int, int]]:
    """What the launcher takes on, as (name, soft, hard)."""
    # In a namespace of its own bubblewrap's first process counts as one of the user's.
    processes = limits.processes + (1 if way.user_namespace else 0)
    return [
        # At the soft one SIGXCPU says what it died of; who catches that is killed a second later.
        ("RLIMIT_CPU", limits.processor_seconds, limits.processor_seconds + 1),
        ("RLIMIT_AS", limits.memory, limits.memory),
        ("RLIMIT_NPROC", processes, processes),
        ("RLIMIT_FSIZE", limits.file_size, limits.file_size),
        ("RLIMIT_NOFILE", 64, 64),
        ("RLIMIT_CORE", 0, 0),
        # Deep recursion through C (a cached function, say) is common in contests, and judges there allow it.
        ("RLIMIT_STACK", 64 * 2**20, 64 * 2**20),
    ]


def _namespaces(way: Way) -> tuple[str, ...]:
    others = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
    if way.user_namespace:
        return ("--unshare-user", "--uid", "1000", "--gid", "1000", *others)
    # The launcher needs these two to become a user without any; the change of user takes them away.
    return (*others, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")


@cache
def _launcher() -> str:
    return files(__package__).joinpath("launcher.py").read_text(encoding="utf-8")


@cache
def _mounts() -> tuple[str, ...]:
    return tuple(word for mount in _mount_operations() for word in mount)


def _mount_operations() -> Iterator[tuple[str, ...]]:
    """Read-only: the interpreter with its standard library, the system's shared libraries, and PACKAGES.

    /proc, /sys and all of /etc but the linker's cache are missing. Some programs lie beside the libraries; the launcher
    has the kernel refuse to start any.
    """
    for folder in ("/dev", "/etc", "/python", "/python/bin", "/usr", LIBRARIES):
        yield "--dir", folder  # made on the way to a mount they would be root's alone
    yield "--dev-bind", "/dev/null", "/dev/null"

    # Not the virtual environment's Python but the one behind it, which may lie in somebody's home: so it moves.
    base = Path(sys.base_prefix)
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    yield "--ro-bind", str(interpreter), "/python/bin/python3"
    for name in {"lib", sys.platlibdir}:
        yield "--ro-bind", str(base / name), f"/python/{name}"
    version = f"python{sysconfig.get_python_version()}"
    for name in ("site-packages", "dist-packages"):
        if (base / "lib" / version / name).is_dir():
            hidden = f"/python/lib/{version}/{name}"
            yield "--tmpfs", hidden
            yield "--remount-ro", hidden

    for folder in ("/usr/lib", "/usr/lib64", "/lib", "/lib64"):
        if os.path.islink(folder):
            yield "--symlink", os.readlink(folder), folder
        elif os.path.isdir(folder):
            yield "--ro-bind", folder, folder
    yield "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"

    for package in PACKAGES:
        spec = find_spec(package)
        for place in spec.submodule_search_locations or () if spec else ():
            yield "--ro-bind", place, f"{LIBRARIES}/{package}"
            yield "--ro-bind-try", f"{place}.libs", f"{LIBRARIES}/{package}.libs"  # shared libraries of its wheel
