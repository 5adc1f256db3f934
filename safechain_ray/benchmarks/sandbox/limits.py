"""What a program may use, what is run, and what became of it."""

import signal
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Literal

Ending = Literal["exit", "signal", "processor time", "wall time", "output", "stopped"]
"""By itself; of a signal; of a limit; or stopped because the program that it served had ended."""

MIB = 2**20
SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one program. Each process may have `memory`, so all of them at most `processes` times as much."""

    processor_seconds: int = 10
    """of each process; the one that passes it is killed"""
    wall_seconds: float = 60
    """of the whole; many times the processor's, since a busy machine makes an honest program slow"""
    memory: int = 1024 * MIB
    """bytes of address space a process"""
    processes: int = 4
    """processes and threads at once"""
    scratch: int = 64 * MIB
    """bytes of all files together, held in memory"""
    file_size: int = 16 * MIB
    output: int = MIB
    """bytes of standard output and standard error together"""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Program:
    """Python to be run as a script. `given` (what `marshal` can write) is there for it as the global `GIVEN`.

    A code object must be this interpreter's own, and is trusted: source of a model is compiled inside only.
    `wires` are open file descriptors that it gets under the same numbers; they are closed here when all programs run.
    """

    code: str | CodeType
    stdin: bytes = b""
    limits: Limits = DEFAULT_LIMITS
    given: Any = None
    wires: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a program. `exit_code` is a shell's: 128 + the signal for one that died of a signal."""

    exit_code: int
    stdout: str
    stderr: str
    ended_by: Ending
    limits: Limits = field(default=DEFAULT_LIMITS, repr=False)

    @property
    def died_of(self) -> str | None:
        """In words, for people; None for a program that ended well."""
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
