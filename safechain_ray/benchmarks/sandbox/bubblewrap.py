"""Sandbox construction: limits of a program, bubblewrap's command line and mounts, and a filter of system calls.

Only Python's own files are mounted. The seccomp filter (Linux, seccomp(2), in the kernel's BPF) closes gaps of
namespaces and rlimits:

- memory that counts for no process (System V shared memory, memfd)
- sockets outside network namespaces (vsock reaches the host of a virtual machine)
- nested namespaces
- rarely used parts of the kernel with most of its vulnerabilities (io_uring, bpf, keyrings, userfaultfd, perf)

System call numbers are those of the kernel's asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64).

`Limits`, `Program` and `Ran` belong to every sandbox backend.
"""

import errno
import os
import platform
import signal
import socket
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any, Literal

from safechain_ray.errors import SandboxError

Ending = Literal["exit", "signal", "processor time", "wall time", "output", "stopped"]
"""How a program ended: by itself, by a signal, by a limit, or stopped because the program that it served had ended."""

MIB = 2**20

SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of one program. `memory` is per process, so all processes may use `processes` times as much."""

    processor_seconds: int = 10
    """of each process, which is killed above it"""
    wall_seconds: float = 60
    """of the whole; much longer than processor time, since a busy machine slows every program down"""
    memory: int = 1024 * MIB
    """bytes of address space per process"""
    processes: int = 4
    """processes and threads at the same time"""
    scratch: int = 64 * MIB
    """bytes of all files together, in memory"""
    file_size: int = 16 * MIB
    output: int = MIB
    """bytes of standard output and standard error together"""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Program:
    """Python code to run as a script. `given` (anything that `marshal` can write) is its global `GIVEN`.

    A code object must come from this interpreter, and is trusted: source code of a model is compiled only inside.
    `wires` are open file descriptors passed under the same numbers; they are closed here once all programs run.
    """

    code: str | CodeType
    stdin: bytes = b""
    limits: Limits = DEFAULT_LIMITS
    given: Any = None
    wires: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of a program. `exit_code` is that of a shell: 128 + the signal number after a signal."""

    exit_code: int
    stdout: str
    stderr: str
    ended_by: Ending
    limits: Limits = field(default=DEFAULT_LIMITS, repr=False)

    @property
    def died_of(self) -> str | None:
        """The cause of a failure in words; None for a program that ended successfully."""
        match self.ended_by:
            case "processor time":
                return f"used more than {self.limits.processor_seconds} s of processor time"
            case "wall time":
                return f"had not ended after {self.limits.wall_seconds:g} s"
            case "output":
                return f"printed more than {self.limits.output:,} bytes"
            case "stopped":
                return "was stopped"
            case "signal":
                return f"died of {_signal_name(self.exit_code - 128)}"
        if self.exit_code == 0:
            return None
        last_line = self.stderr.strip().rpartition("\n")[2].strip()
        return last_line[:SHOWN_CHARACTERS] or f"ended with exit code {self.exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


LIBRARIES = "/libraries"
"""Folder of importable packages in addition to the standard library."""

PACKAGES = ("numpy",)
"""Solutions of contest problems import it, as the published environments allow."""

SCRATCH = "/tmp"

ENVIRONMENT = {
    "HOME": SCRATCH,
    "LD_LIBRARY_PATH": "/python/lib",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/python/bin",
    "PYTHONHASHSEED": "0",  # some answers depend on the order of a set; equal answers must get equal grades
}

AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# System call: its number on x86_64, on aarch64.
REFUSED: Mapping[str, tuple[int, int]] = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "semget": (64, 190),
    "setns": (308, 268),
    "shmget": (29, 194),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}

CLONE, CLONE3, SOCKET = (56, 220), (435, 435), (41, 198)

# CLONE_NEW… of NS, CGROUP, UTS, IPC, USER, PID and NET.
NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000

X32_CALLS = 0x40000000
"""From this number on, x86_64 repeats the same calls for a 32-bit interface."""

# System calls that start a program. Bubblewrap uses one of them to start Python after the first filter.
STARTS_PROGRAMS = ((59, 221), (322, 281))  # execve, execveat

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16

ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """An installed bubblewrap.

    Versions before 0.7 can't limit a scratch folder, so programs then have no writable folder.
    """

    path: str
    version: tuple[int, ...]

    @property
    def has_scratch(self) -> bool:
        return self.version >= (0, 7)


@dataclass(frozen=True, slots=True)
class Backend:
    """One method of building a sandbox: how bubblewrap is started, and the user of the program."""

    name: str
    user_namespace: bool
    started_as: int | None = None
    """user id with which bubblewrap is started, None for the caller's own"""


def command(
    bwrap: Bubblewrap, backend: Backend, limits: Limits, filter_fd: int, status_fd: int, startup_fd: int
) -> list[str]:
    """Bubblewrap's command line, to be run with an empty environment.

    The descriptors are those of the filter, of bubblewrap's status, and of the launcher's startup data.
    """
    scratch = ("--perms", "1777", "--size", str(limits.scratch), "--tmpfs") if bwrap.has_scratch else ("--dir",)
    return [
        bwrap.path,
        *_namespaces(backend),
        *("--die-with-parent", "--new-session", "--hostname", "sandbox"),
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        *_mounts(),
        *(*scratch, SCRATCH),
        *("--remount-ro", "/", "--chdir", SCRATCH),
        *("--seccomp", str(filter_fd), "--json-status-fd", str(status_fd)),
        # -P -s -S: no folder of the user, of the project or of site-packages is on the path.
        *("/python/bin/python3", "-P", "-s", "-S", "-X", "utf8", "-c", _launcher(), str(startup_fd)),
    ]


def rlimits(limits: Limits, backend: Backend) -> list[tuple[str, int, int]]:
    """The launcher's resource limits as (name, soft, hard)."""
    # In a user namespace bubblewrap's first process counts as one of the user's processes.
    processes = limits.processes + (1 if backend.user_namespace else 0)
    return [
        # SIGXCPU at the soft limit names the cause. A program that catches it is killed a second later.
        ("RLIMIT_CPU", limits.processor_seconds, limits.processor_seconds + 1),
        ("RLIMIT_AS", limits.memory, limits.memory),
        ("RLIMIT_NPROC", processes, processes),
        ("RLIMIT_FSIZE", limits.file_size, limits.file_size),
        ("RLIMIT_NOFILE", 64, 64),
        ("RLIMIT_CORE", 0, 0),
        # Deep recursion through C (for example a cached function) is common in contests, and their judges allow it.
        ("RLIMIT_STACK", 64 * 2**20, 64 * 2**20),
    ]


def _namespaces(backend: Backend) -> tuple[str, ...]:
    others = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
    if backend.user_namespace:
        return ("--unshare-user", "--uid", "1000", "--gid", "1000", *others)
    # The launcher needs these two capabilities to change its user, which drops them.
    return (*others, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")


@cache
def _launcher() -> str:
    return files(__package__).joinpath("launcher.py").read_text(encoding="utf-8")


@cache
def _mounts() -> tuple[str, ...]:
    return tuple(word for mount in _mount_operations() for word in mount)


def _mount_operations() -> Iterator[tuple[str, ...]]:
    """Read-only mounts: the interpreter with its standard library, the system's shared libraries, and PACKAGES.

    /proc, /sys and all of /etc except the linker's cache are missing. Some programs are in the folders of the
    libraries; the launcher's filter refuses to start them.
    """
    for folder in ("/dev", "/etc", "/python", "/python/bin", "/usr", LIBRARIES):
        yield "--dir", folder  # parents of a mount created implicitly would belong to root only
    yield "--dev-bind", "/dev/null", "/dev/null"

    # The base interpreter of the virtual environment, mounted at a fixed path because it may be in a home folder.
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
        for location in spec.submodule_search_locations or () if spec else ():
            yield "--ro-bind", location, f"{LIBRARIES}/{package}"
            yield "--ro-bind-try", f"{location}.libs", f"{LIBRARIES}/{package}.libs"  # shared libraries of its wheel


def seccomp_filter(machine: str | None = None) -> bytes:
    """The filter for this machine (`platform.machine()`) in the kernel's format: 8 bytes per instruction.

    Raises:
        SandboxError: the architecture's system call numbers are not listed.
    """
    return _packed(_instructions(_known(machine)))


def no_programs_filter(machine: str | None = None) -> bytes:
    """The filter that the launcher adds before the untrusted program: from then on no other program can be started.

    Raises what `seccomp_filter` raises.
    """
    return _packed(_refusing(_known(machine), STARTS_PROGRAMS))


def _known(machine: str | None) -> str:
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCHITECTURES:
        raise SandboxError(
            f"The sandbox has no list of system calls for {machine} (only for {', '.join(AUDIT_ARCHITECTURES)}). Fix: "
            "grade on a machine of one of these."
        )
    return machine


def _packed(instructions: Iterable[tuple[int, int, int, int]]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _refusing(machine: str, calls: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int, int]]:
    yield LOAD, 0, 0, NUMBER
    for numbers in calls:
        yield EQUAL, 0, 1, numbers[list(AUDIT_ARCHITECTURES).index(machine)]
        yield RETURN, 0, 0, FAIL | errno.EPERM
    yield RETURN, 0, 0, ALLOW


def _instructions(machine: str) -> Iterator[tuple[int, int, int, int]]:
    """(operation, instructions to skip if true, if false, operand), in their order."""
    column = list(AUDIT_ARCHITECTURES).index(machine)
    yield LOAD, 0, 0, ARCHITECTURE
    yield EQUAL, 1, 0, AUDIT_ARCHITECTURES[machine]
    yield RETURN, 0, 0, KILL
    yield LOAD, 0, 0, NUMBER
    if machine == "x86_64":
        yield AT_LEAST, 0, 1, X32_CALLS
        yield RETURN, 0, 0, FAIL | errno.EPERM
    for numbers in REFUSED.values():
        yield EQUAL, 0, 1, numbers[column]
        yield RETURN, 0, 0, FAIL | errno.EPERM
    # clone3 has its flags in memory, which a filter can't read. After ENOSYS libc uses clone.
    yield EQUAL, 0, 1, CLONE3[column]
    yield RETURN, 0, 0, FAIL | errno.ENOSYS
    yield EQUAL, 0, 4, CLONE[column]
    yield LOAD, 0, 0, FIRST_ARGUMENT
    yield ANY_BIT, 0, 1, NEW_NAMESPACES
    yield RETURN, 0, 0, FAIL | errno.EPERM
    yield RETURN, 0, 0, ALLOW
    yield EQUAL, 0, 3, SOCKET[column]
    yield LOAD, 0, 0, FIRST_ARGUMENT
    yield EQUAL, 1, 0, socket.AF_UNIX
    yield RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT
    yield RETURN, 0, 0, ALLOW
