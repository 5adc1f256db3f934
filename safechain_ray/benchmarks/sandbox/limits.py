"""Resource limits of a sandboxed program, the program, and its result."""

import signal
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Literal

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
