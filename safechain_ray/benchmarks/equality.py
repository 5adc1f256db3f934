"""Whether two answers are mathematically equal, asked of a process that may hang and is then killed."""

import json
import os
import select
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from threading import Lock

PROCESSOR_SECONDS = 10
"""Processor time of one comparison. Those of MATH-500's gold answers take some milliseconds."""

WALL_SECONDS = 900
"""Time after which a process that says nothing is taken for stuck, its start included."""

_WORKER = Path(__file__).with_name("math_worker.py")


class ComparisonError(Exception):
    """Two answers could not be compared; says why."""


class MathEquality:
    """Compares answers in one process beside this one, which is started by the first question, and again after it died.

    May be asked by many threads, each in its turn, and by processes forked from this one, which start their own.
    """

    def __init__(self, processor_seconds: int = PROCESSOR_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self._processor_seconds = processor_seconds
        self._wall_seconds = wall_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._turn = Lock()

    def equal(self, gold: str, answer: str) -> bool:
        """Whether `answer` equals `gold`, both LaTeX or plain. Raises ComparisonError, also where it took too long."""
        if self._owner != os.getpid():
            # The parent's process answers the parent; its lock may be held by a thread that was not forked along.
            self._owner, self._turn, self._process = os.getpid(), Lock(), None
        with self._turn:
            if self._process is None or self._process.poll() is not None:
                self._process = self._started()
            try:
                return self._ask(self._process, gold, answer)
            except BaseException:
                # Whoever asks next must not get the answer to this question.
                _end(self._process, self._owner)
                raise

    def close(self) -> None:
        """Ends the process; the next question starts another one."""
        with self._turn:
            if self._process is not None:
                _end(self._process, self._owner)

    def _started(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for this process
            env={**os.environ, "PYTHONHASHSEED": "0"},  # sympy's order of terms, and so its answers, depend on it
        )
        weakref.finalize(self, _end, process, os.getpid())
        return process

    def _ask(self, process: "subprocess.Popen[bytes]", gold: str, answer: str) -> bool:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps([gold, answer, self._processor_seconds]).encode() + b"\n")
        except BrokenPipeError:
            raise ComparisonError(self._death(process)) from None
        answered = select.poll()
        answered.register(process.stdout, select.POLLIN)
        if not answered.poll(self._wall_seconds * 1000):
            raise ComparisonError(f"the comparison did not end within {self._wall_seconds:g} s")
        reply = process.stdout.readline()
        if not reply:
            raise ComparisonError(self._death(process))
        return reply == b"true\n"

    def _death(self, process: "subprocess.Popen[bytes]") -> str:
        if process.wait() == -signal.SIGXCPU:
            return f"the comparison took more than {self._processor_seconds} s of processor time"
        return f"the process that compares answers ended with exit code {process.returncode}"


def _end(process: "subprocess.Popen[bytes]", owner: int) -> None:
    if owner != os.getpid():  # forked along with its parent, whom the process serves
        return
    process.kill()
    process.communicate()
