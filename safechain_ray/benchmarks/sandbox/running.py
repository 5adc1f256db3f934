"""Runs programs in sandboxes and waits for them: feeds and reads their pipes, and ends what passes a limit.

Tries a way of building the sandbox from inside: a limit that does not hold rules the way out.

Which way of building the sandbox works on this machine, found by trying: what is promised is seen to hold.
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
    LIBRARIES,
    Bubblewrap,
    Way,
    command,
    no_programs_filter,
    rlimits,
    seccomp_filter,
)
from safechain_ray.benchmarks.sandbox.limits import DEFAULT_LIMITS, MIB, Ending, Limits, Program, Ran
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


AT_ONCE = 2**16

"""Bytes read or written in one step."""

GRACE_SECONDS = 1.0

"""How long programs that serve the first one may take to end after it."""

KILL_SECONDS = 0.1

"""How long to wait at least for the end of what has been killed, before looking again."""

SIGXCPU_EXIT = 128 + 24


def run(code: str | CodeType, stdin: str = "", limits: Limits = DEFAULT_LIMITS) -> Ran:
    """Runs Python as a script in a sandbox of its own and waits for its end; threads may call it side by side.

    It costs about 23 ms of processor time beside the code's own, and 21 ms or more until the end (bubblewrap 0.8.0,
    Python 3.11, 2 busy cores).

    Raises SandboxError where no sandbox works, never for what the code does.
    """
    return run_programs(Program(code, stdin.encode(errors="surrogateescape"), limits))[0]


def run_programs(*programs: Program) -> tuple[Ran, ...]:
    """Runs programs at the same time, each in a sandbox of its own, until the first of them has ended.

    The others are there to serve it, and are stopped soon after it. Raises what `run` raises.
    """
    return run_in(*working_way(), *programs)


def run_in(bwrap: Bubblewrap, way: Way, *programs: Program) -> tuple[Ran, ...]:
    """`run_programs` with a given bubblewrap in a given way, which nobody has tried."""
    with ExitStack() as stack, DefaultSelector() as selector:
        running = []
        try:
            for program in programs:
                running.append(_start(bwrap, way, program))
                stack.callback(running[-1].kill)
                running[-1].register(selector)
        finally:
            for wire in {wire for program in programs for wire in program.wires}:
                os.close(wire)  # so that a program hears of another's end
        _attend(selector, running)
        return tuple(each.ran() for each in running)


@dataclass(slots=True)
class _Running:
    """One program under way. `unread` are the pipes that have not ended: with the last of them all of it is gone."""

    program: Program
    process: subprocess.Popen[bytes]
    status: IO[bytes]
    deadline: float
    unfed: memoryview
    read: dict[str, bytearray] = field(default_factory=lambda: {name: bytearray() for name in ("out", "err", "status")})
    unread: set[str] = field(default_factory=lambda: {"out", "err", "status"})
    late: Ending = "wall time"
    """why it is stopped at its deadline"""
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
        """Whether there is more to feed."""
        assert self.process.stdin is not None
        try:
            self.unfed = self.unfed[os.write(self.process.stdin.fileno(), self.unfed[:AT_ONCE]) :]
        except BrokenPipeError:  # it does not read its input, or is gone
            return False
        return bool(self.unfed)

    def take(self, name: str, pipe: IO[bytes]) -> bool:
        """Whether there may be more to read."""
        piece = os.read(pipe.fileno(), AT_ONCE)
        if not piece:
            self.unread.discard(name)
            return False
        self.read[name] += piece
        room = self.program.limits.output - len(self.read["out"]) - len(self.read["err"])
        if name != "status" and room < 0:
            del self.read[name][room:]
            self.stop("output")
        return True

    def stop(self, ending: Ending) -> None:
        if self.stopped_for is None:
            self.stopped_for = ending
            self.process.kill()  # the kernel then ends all that is inside: see --die-with-parent and --unshare-pid

    def kill(self) -> None:
        """Leaves nothing behind, whatever happened."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr, self.status):
            if pipe is not None:
                pipe.close()

    def ran(self) -> Ran:
        """Raises SandboxError where bubblewrap did not come to run the program."""
        out, err = (self.read[name].decode(errors="replace") for name in ("out", "err"))
        if self.stopped_for is not None:
            return Ran(128 + 9, out, err, self.stopped_for, self.program.limits)
        codes = [said["exit-code"] for said in map(json.loads, self.read["status"].splitlines()) if "exit-code" in said]
        if not codes:
            raise SandboxError(f"bubblewrap could not set up the sandbox: {err.strip() or 'it gave no reason'}")
        code = int(codes[0])
        ending: Ending = "processor time" if code == SIGXCPU_EXIT else "signal" if code > 128 else "exit"
        return Ran(code, out, err, ending, self.program.limits)


def _start(bwrap: Bubblewrap, way: Way, program: Program) -> _Running:
    limits = program.limits
    with ExitStack() as ours:
        handed = (
            *(user_of(way), rlimits(limits, way), no_programs_filter()),
            *(LIBRARIES, program.code, program.given),
        )
        handed_fd = _file_of(marshal.dumps(handed), ours)
        filter_fd = _file_of(seccomp_filter(), ours)
        status_fd, theirs = os.pipe()
        ours.callback(os.close, theirs)
        status = open(status_fd, "rb", buffering=0)  # noqa: SIM115 (closed with the rest of what is running)
        try:
            process = subprocess.Popen(
                command(bwrap, way, limits, filter_fd, theirs, handed_fd),
                stdin=subprocess.PIPE if program.stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(filter_fd, theirs, handed_fd, *program.wires),
                cwd="/",
                env={},
                user=way.started_as,
                group=way.started_as,
                extra_groups=None if way.started_as is None else [],
            )
        except OSError as error:
            status.close()
            raise SandboxError(f"bubblewrap ({bwrap.path}) could not be started: {error}") from error
    return _Running(program, process, status, monotonic() + limits.wall_seconds, memoryview(program.stdin))


def _file_of(content: bytes, stack: ExitStack) -> int:
    """A descriptor to read `content` from, closed with the stack; no file system is touched."""
    descriptor = os.memfd_create("sandbox")
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _attend(selector: DefaultSelector, running: list[_Running]) -> None:
    """Until all have ended; the end of the first bounds the others'."""
    first, *others = running
    while any(each.unread for each in running):
        now = monotonic()
        for each in running:
            if each.unread and now >= each.deadline:
                each.stop(each.late)
        next_deadline = min(each.deadline for each in running if each.unread)
        for key, _ in selector.select(max(next_deadline - now, KILL_SECONDS)):
            each, name, pipe = key.data
            if not (each.feed() if name == "in" else each.take(name, pipe)):
                selector.unregister(pipe)
                pipe.close()
        if not first.unread:
            for each in others:
                each.late, each.deadline = "stopped", min(each.deadline, monotonic() + GRACE_SECONDS)


LIMITS = Limits(processes=3, memory=256 * MIB)

# Prints a line for each promise that is broken, then that it came to its end.
PROBE = """
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
print("tried")
"""


def fault_of(bwrap: Bubblewrap, way: Way) -> str | None:
    """Why the way is no good, None where it is."""
    try:
        ran = run_in(bwrap, way, Program(PROBE, limits=LIMITS))[0]
    except SandboxError as error:
        return str(error)
    *broken, last = ran.stdout.splitlines() or [""]
    if last != "tried":
        return ran.died_of or "the trial program did not come to its end"
    return "; ".join(broken) or None
