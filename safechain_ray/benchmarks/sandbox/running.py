"""Execution of programs in sandboxes, and the self-test that selects a working sandbox backend.

Programs run side by side; their pipes are fed and read, and a program that exceeds a limit is killed. Each backend of
the machine is tested from inside once per process. A backend that does not enforce every guarantee is skipped.
"""

import json
import marshal
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from time import monotonic
from types import CodeType
from typing import IO

from safechain_ray.benchmarks.sandbox.bubblewrap import (
    DEFAULT_LIMITS,
    LIBRARIES,
    MIB,
    Backend,
    Bubblewrap,
    Ending,
    Limits,
    Program,
    Ran,
    command,
    no_programs_filter,
    rlimits,
    seccomp_filter,
)
from safechain_ray.errors import SandboxError

NOBODY = 65534

# systemd does not use ids from here on: https://systemd.io/UIDS-GIDS.
FREE_USERS = 0x70000000

FREE_USERS_OF_CONTAINERS = 60_000
"""where fewer ids are mapped, as in a container without root's permissions on the machine"""

INSTALL_FIX = (
    "Fix: install bubblewrap (Debian, Ubuntu: apt install bubblewrap) on a Linux kernel that lets its user create "
    "namespaces; docs/sandbox.md explains the settings for containers, Kubernetes and Ubuntu 24.04."
)

CHUNK_BYTES = 2**16
"""Bytes per read or write."""

GRACE_PERIOD = 1.0
"""Seconds for programs that serve the first one to end after it."""

KILL_TIMEOUT = 0.1
"""Minimum seconds to wait for the end of a killed program before the next check."""

SIGXCPU_EXIT = 128 + 24

SELF_TEST_LIMITS = Limits(processes=3, memory=256 * MIB)

# Prints a line for each violated guarantee, then `complete`.
SELF_TEST = """
import os, socket, time

def refused(action):
    try:
        action()
    except (OSError, MemoryError):
        return True
    return False

if os.getuid() == 0 or not refused(lambda: os.setuid(0)):
    print("the program runs as root")
if not refused(lambda: bytearray(300 * 2**20)):
    print("it may take more memory than its limit")
if not refused(lambda: socket.socket(socket.AF_INET)):
    print("it may open a socket")
if not refused(lambda: open("/file", "w")):
    print("it may write outside of its scratch")
if not refused(lambda: os.execv("/python/bin/python3", ["python3", "-c", ""])):
    print("it may start programs")
children = 0
while children < 8:
    try:
        if os.fork() == 0:
            time.sleep(600)
    except OSError:
        break
    children += 1
if children == 8:
    print("it may start more processes than its limit")
print("complete")
"""


def backends() -> Iterator[Backend]:
    """The candidate backends for this user, best first.

    Linux doesn't count the processes of its root, even in a user namespace where root is another user. A caller who is
    root therefore uses no user namespace and changes the program's user, or starts bubblewrap as another user.
    """
    if os.geteuid() != 0:
        yield Backend("a user namespace", user_namespace=True)
        return
    yield Backend("root's own namespaces", user_namespace=False)
    yield Backend("a user namespace of nobody", user_namespace=True, started_as=NOBODY)
    yield Backend("a user namespace of a container's root", user_namespace=True)


def user_of(backend: Backend) -> int | None:
    """The user id for the launcher to change to, a new one each time; None if the namespace sets the user."""
    if backend.user_namespace:
        return None
    mapped = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
    if mapped > FREE_USERS + 2**24:
        return FREE_USERS + secrets.randbelow(2**24)
    return FREE_USERS_OF_CONTAINERS + secrets.randbelow(5000)


def find_bubblewrap() -> Bubblewrap | None:
    path = shutil.which("bwrap")
    if path is None:
        return None
    version = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False
    ).stdout  # "bubblewrap 0.8.0"
    return Bubblewrap(path, tuple(map(int, re.findall(r"\d+", version))))


@cache
def working_backend() -> tuple[Bubblewrap, Backend]:
    """The installed bubblewrap and the first backend that passes its self-test, cached for the process.

    Raises:
        SandboxError: bubblewrap is missing, or every backend failed.
    """
    bwrap = find_bubblewrap()
    if bwrap is None:
        raise SandboxError(f"No code of a model is run: bubblewrap (`bwrap`) is not on PATH. {INSTALL_FIX}")
    faults = []
    for backend in backends():
        fault = self_test(bwrap, backend)
        if fault is None:
            return bwrap, backend
        faults.append(f"\n  {backend.name}: {fault}")
    raise SandboxError(f"No code of a model is run: no sandbox works on this machine.{''.join(faults)}\n{INSTALL_FIX}")


def require_sandbox() -> None:
    """Raises SandboxError, with the fix, if no sandbox works."""
    working_backend()


def why_no_sandbox() -> str | None:
    """Why no sandbox works here; None if one does."""
    try:
        working_backend()
    except SandboxError as error:
        return str(error)
    return None


def run(code: str | CodeType, stdin: str = "", limits: Limits = DEFAULT_LIMITS) -> Ran:
    """Run Python as a script in a sandbox of its own and wait for its end. Thread-safe.

    The overhead is about 23 ms of processor time, and at least 21 ms of wall time (bubblewrap 0.8.0, Python 3.11, 2
    busy cores).

    Raises:
        SandboxError: no sandbox works. Never raised for errors of the code.
    """
    return run_programs(Program(code, stdin.encode(errors="surrogateescape"), limits))[0]


def run_programs(*programs: Program) -> tuple[Ran, ...]:
    """Run programs at the same time, each in a sandbox of its own, until the first of them has ended.

    The others serve the first program, and are stopped soon after it. Raises what `run` raises.
    """
    return run_in(*working_backend(), *programs)


def run_in(bwrap: Bubblewrap, backend: Backend, *programs: Program) -> tuple[Ran, ...]:
    """`run_programs` with a given bubblewrap and backend, without a self-test."""
    with ExitStack() as stack, DefaultSelector() as selector:
        running = []
        try:
            for program in programs:
                running.append(_start(bwrap, backend, program))
                stack.callback(running[-1].kill)
                running[-1].register(selector)
        finally:
            for wire in {wire for program in programs for wire in program.wires}:
                os.close(wire)  # a program then receives EOF when another one ends
        _run_until_ended(selector, running)
        return tuple(each.ran() for each in running)


@dataclass(slots=True)
class _Running:
    """One running program. `unread` are the open pipes; when the last one closes, all its processes have ended."""

    program: Program
    process: subprocess.Popen[bytes]
    status: IO[bytes]
    deadline: float
    unfed: memoryview
    read: dict[str, bytearray] = field(default_factory=lambda: {name: bytearray() for name in ("out", "err", "status")})
    unread: set[str] = field(default_factory=lambda: {"out", "err", "status"})
    late: Ending = "wall time"
    """ending at the deadline"""
    stopped_for: Ending | None = None

    def register(self, selector: DefaultSelector) -> None:
        for name, pipe in (("out", self.process.stdout), ("err", self.process.stderr), ("status", self.status)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, EVENT_READ, (self, name, pipe))
        if self.process.stdin is not None:
            os.set_blocking(self.process.stdin.fileno(), False)
            selector.register(self.process.stdin, EVENT_WRITE, (self, "in", self.process.stdin))

    def feed(self) -> bool:
        """Write a chunk of input; returns whether there is more."""
        assert self.process.stdin is not None
        try:
            self.unfed = self.unfed[os.write(self.process.stdin.fileno(), self.unfed[:CHUNK_BYTES]) :]
        except BrokenPipeError:  # the program does not read its input, or has ended
            return False
        return bool(self.unfed)

    def read_pipe(self, name: str, pipe: IO[bytes]) -> bool:
        """Read a chunk; returns whether there may be more."""
        chunk = os.read(pipe.fileno(), CHUNK_BYTES)
        if not chunk:
            self.unread.discard(name)
            return False
        self.read[name] += chunk
        left = self.program.limits.output - len(self.read["out"]) - len(self.read["err"])
        if name != "status" and left < 0:
            del self.read[name][left:]
            self.stop("output")
        return True

    def stop(self, ending: Ending) -> None:
        if self.stopped_for is None:
            self.stopped_for = ending
            self.process.kill()  # the kernel then kills every process inside: --die-with-parent, --unshare-pid

    def kill(self) -> None:
        """Kill the program and close its pipes, also after errors."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr, self.status):
            if pipe is not None:
                pipe.close()

    def ran(self) -> Ran:
        """The result. Raises SandboxError if bubblewrap did not get to run the program."""
        out, err = (self.read[name].decode(errors="replace") for name in ("out", "err"))
        if self.stopped_for is not None:
            return Ran(128 + 9, out, err, self.stopped_for, self.program.limits)
        codes = [
            status["exit-code"] for status in map(json.loads, self.read["status"].splitlines()) if "exit-code" in status
        ]
        if not codes:
            raise SandboxError(f"bubblewrap could not set up the sandbox: {err.strip() or 'it gave no reason'}")
        code = int(codes[0])
        ending: Ending = "processor time" if code == SIGXCPU_EXIT else "signal" if code > 128 else "exit"
        return Ran(code, out, err, ending, self.program.limits)


def _start(bwrap: Bubblewrap, backend: Backend, program: Program) -> _Running:
    limits = program.limits
    with ExitStack() as ours:
        startup = (
            *(user_of(backend), rlimits(limits, backend), no_programs_filter()),
            *(LIBRARIES, program.code, program.given),
        )
        startup_fd = _memory_file(marshal.dumps(startup), ours)
        filter_fd = _memory_file(seccomp_filter(), ours)
        status_fd, theirs = os.pipe()
        ours.callback(os.close, theirs)
        status = open(status_fd, "rb", buffering=0)  # noqa: SIM115 (closed by `_Running.kill`)
        try:
            process = subprocess.Popen(
                command(bwrap, backend, limits, filter_fd, theirs, startup_fd),
                stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(filter_fd, theirs, startup_fd, *program.wires),
                cwd="/",
                env={},
                user=backend.started_as,
                group=backend.started_as,
                extra_groups=None if backend.started_as is None else [],
            )
        except OSError as error:
            status.close()
            raise SandboxError(f"bubblewrap ({bwrap.path}) could not be started: {error}") from error
    return _Running(program, process, status, monotonic() + limits.wall_seconds, memoryview(program.stdin))


def _memory_file(content: bytes, stack: ExitStack) -> int:
    """A descriptor of an in-memory file with `content`, closed with the stack."""
    descriptor = os.memfd_create("sandbox")
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _run_until_ended(selector: DefaultSelector, running: list[_Running]) -> None:
    """Serve the pipes until all programs have ended; the end of the first program limits the others' time."""
    first, *others = running
    while any(each.unread for each in running):
        now = monotonic()
        for each in running:
            if each.unread and now >= each.deadline:
                each.stop(each.late)
        next_deadline = min(each.deadline for each in running if each.unread)
        for key, _ in selector.select(max(next_deadline - now, KILL_TIMEOUT)):
            each, name, pipe = key.data
            if not (each.feed() if name == "in" else each.read_pipe(name, pipe)):
                selector.unregister(pipe)
                pipe.close()
        if not first.unread:
            for each in others:
                each.late, each.deadline = "stopped", min(each.deadline, monotonic() + GRACE_PERIOD)


def self_test(bwrap: Bubblewrap, backend: Backend) -> str | None:
    """Check the backend's guarantees from inside. Returns the violated ones, None for a working backend."""
    try:
        ran = run_in(bwrap, backend, Program(SELF_TEST, limits=SELF_TEST_LIMITS))[0]
    except SandboxError as error:
        return str(error)
    *broken, last = ran.stdout.splitlines() or [""]
    if last != "complete":
        return ran.died_of or "the self-test did not run to its end"
    return "; ".join(broken) or None
