"""Child process with limits of time and memory: it answers JSON requests one by one, and is killed at a limit."""

import json
import os
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

WALL_SECONDS = 900
"""Seconds without an answer after which a process counts as stuck, its start included."""

_CHILD = Path(__file__).with_name("child.py")


class AnswerError(Exception):
    """The worker raised an exception at a request; the text is the exception's."""


class LimitExceededError(AnswerError):
    """The process reached a limit or died; the text is a predicate, such as "took more than 2 s of processor time"."""


class KilledError(LimitExceededError):
    """Another process ended the child by a signal, for example the kernel when memory runs out."""


KILLS = (signal.SIGKILL, signal.SIGTERM)
"""Signals that no limit of the child sends."""


@dataclass
class LimitedProcess:
    """Sends JSON requests to `worker` in a child process. The first request starts it, as does one after its death.

    `worker` is a Python file with a function `answer(request)`. Threads wait for each other. A forked process starts
    a child of its own.

    Processor time and address space are limited. `wall_seconds` ends a stuck process. It is long enough for a busy
    machine.
    """

    worker: Path
    processor_seconds: int
    memory: int
    """Bytes of address space."""
    wall_seconds: float = WALL_SECONDS
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _owner: int = field(default_factory=os.getpid, init=False)
    _turn: Any = field(default_factory=Lock, init=False)

    def ask(self, request: object) -> Any:
        """Raises AnswerError for an exception of the worker, LimitExceededError for a limit.

        A request whose child was killed from outside is sent once more. It raises KilledError for a second kill.
        """
        if self._owner != os.getpid():
            # The parent's child answers the parent; the lock may be held by a thread that the fork did not copy.
            self._owner, self._turn, self.process = os.getpid(), Lock(), None
        with self._turn:
            try:
                reply = self._reply(request)
            except KilledError:
                reply = self._reply(request)
        if "error" in reply:
            raise AnswerError(reply["error"])
        return reply["answer"]

    def close(self) -> None:
        """End the process; the next request starts another one."""
        with self._turn:
            if self.process is not None:
                _end(self.process, self._owner)

    def _reply(self, request: object) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            self.process = self._start()
        try:
            return self._exchange(self.process, request)
        except BaseException:
            # The next request must not receive the answer to this one.
            _end(self.process, self._owner)
            raise

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD), str(self.worker)]
            + [str(number) for number in (self.memory, self.processor_seconds, os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process
            env={**os.environ, **self.environment},
        )
        weakref.finalize(self, _end, process, os.getpid())
        return process

    def _exchange(self, process: "subprocess.Popen[bytes]", request: object) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._death(process) from None
        answered = select.poll()
        answered.register(process.stdout, select.POLLIN)
        if not answered.poll(self.wall_seconds * 1000):
            raise LimitExceededError(f"did not end within {self.wall_seconds:g} s")
        reply = process.stdout.readline()
        if not reply.endswith(b"\n"):
            raise self._death(process)
        decoded: dict[str, Any] = json.loads(reply)
        if "limit" in decoded:
            raise LimitExceededError(decoded["limit"])
        return decoded

    def _death(self, process: "subprocess.Popen[bytes]") -> LimitExceededError:
        if process.wait() == -signal.SIGXCPU:
            return LimitExceededError(f"took more than {self.processor_seconds} s of processor time")
        if process.returncode < 0:
            kind = KilledError if -process.returncode in KILLS else LimitExceededError
            return kind(f"ended its process by {signal.Signals(-process.returncode).name}")
        return LimitExceededError(f"ended its process with exit code {process.returncode}")


def _end(process: "subprocess.Popen[bytes]", owner: int) -> None:
    if owner != os.getpid():  # the fork copied it; it serves the parent
        return
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # a request was left in the buffer
                pipe.close()
    process.wait()
