"""Which processes a test left behind: all that inherited a mark in their environment."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).parents[1]
MARK = "SAFECHAIN_TEST_MARK"


def marked_environment() -> dict[str, str]:
    """This process's environment with a new mark, for a child and all that it starts."""
    # Ray and vLLM retitle their processes, which would wipe what /proc shows of their environment.
    return {**os.environ, MARK: uuid4().hex, "SPT_NOENV": "1"}


def python_path() -> str:
    """PYTHONPATH for a child process that imports `tests`: this checkout, then the folders of this process."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def left_over(environment: dict[str, str], patience: float = 20.0) -> list[str]:
    """Command lines of the marked processes that still live after `patience` seconds; none as soon as none does."""
    deadline = time.monotonic() + patience
    while (living := marked_processes(environment)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return list(living.values())


def marked_processes(environment: Mapping[str, str]) -> dict[int, str]:
    """Process id -> command line (or the title that the process gave itself)."""
    mark = f"{MARK}={environment[MARK]}".encode()
    found = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes():
                found[int(process.name)] = (
                    (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
        except OSError:
            continue
    return found
