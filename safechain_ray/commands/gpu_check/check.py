"""Runner of the GPU check: each step runs in a child process with a time limit, so that a crash is a finding.

The child runs this file: `python -m … STEP MODULE FUNCTION DEVICE SCRATCH FINDINGS`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import psutil

from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.engines.start import Device, last_lines
from safechain_ray.errors import SafechainError, UnknownNameError

SMALL_SHARE = 0.2
"""Share of a GPU for an engine of a demo model. vLLM has a Python object for each block of KV cache: on all memory of
an 80 GB GPU that would be a million objects for so small a model."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The device under test, and a scratch folder for the whole check."""

    device: Device
    scratch: Path

    @property
    def small_share(self) -> float | None:
        """The share of the GPU's memory for an engine of a demo model; None on CPUs."""
        return SMALL_SHARE if self.device == "cuda" else None

    def log(self, name: str) -> Path:
        """The log of an engine."""
        return self.scratch / f"{name}.log"


def write_finding(file: Path, finding: Finding) -> None:
    """Append a finding, so that it survives a step that is killed later."""
    with file.open("a", encoding="utf-8") as findings:
        findings.write(json.dumps(asdict(finding)) + "\n")


def read_findings(file: Path) -> Iterator[Finding]:
    """The findings of a step, without a line that was cut off."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    yield from (Finding(**json.loads(line)) for line in lines if line.endswith("\n"))


def share_of(equal: int, total: int) -> str:
    return f"{equal} of {total}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step: the function `function` of the module `module`, in a process that is ended after `seconds`."""

    name: str
    module: str
    function: str
    seconds: float


_HERE = __package__ or ""

STEPS = (
    Step("installation", f"{_HERE}.gpus", "check_machine", 180),
    Step("engine", f"{_HERE}.gpus", "check_engine", 240),
    Step("seeds", f"{_HERE}.gpus", "check_seeds", 240),
    Step("memory", f"{_HERE}.gpus", "check_memory_released", 480),
    Step("run", f"{_HERE}.run", "check_run", 600),
    Step("speed", f"{_HERE}.speed", "check_speed", 420),
    Step("sharing", f"{_HERE}.gpus", "check_sharing", 240),
    Step("several GPUs", f"{_HERE}.gpus", "check_several", 420),
)
"""The steps in their order. A limit is several times the duration of the step on an 80 GB GPU."""


def chosen_steps(names: Sequence[str]) -> tuple[Step, ...]:
    """The steps of these names, all without any. Raises UnknownNameError."""
    known = {step.name: step for step in STEPS}
    for name in names:
        if name not in known:
            raise UnknownNameError("step of the GPU check", name, known)
    return tuple(step for step in STEPS if not names or step.name in names)


def run_steps(
    steps: Sequence[Step], device: Device, scratch: Path, on_step: Callable[[Step], None] = lambda step: None
) -> Iterator[Finding]:
    """The findings of all steps, each after its step has ended. A failed step does not stop the others.

    `on_step` is called before each step.
    """
    for step in steps:
        on_step(step)
        yield from run_step(step, Scene(device, scratch))


def run_step(step: Step, scene: Scene) -> Iterator[Finding]:
    """A step in a process group of its own, and a finding where it crashes or takes too long."""
    file, log = scene.scratch / f"{step.name}.jsonl", scene.log(f"step-{step.name}")
    command = [sys.executable, "-m", f"{_HERE}.check", step.name, step.module, step.function, scene.device]
    command += [str(scene.scratch), str(file)]
    with log.open("w") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code: int | None = child.wait(step.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_with_descendants(child)
    yield from read_findings(file)
    subject = Subject(step.name)
    if code is None:
        yield subject.failed("time", f"not done after {step.seconds:g} s", f"see {log}:\n{last_lines(log)}")
    elif code:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        yield subject.failed("end", f"the step ended with {how}", f"see {log}:\n{last_lines(log)}")


def title_of(process: psutil.Process) -> str:
    """The title that a process gave itself, or its command line; empty for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """All processes below one; none below one that has ended."""
    with suppress(psutil.Error):
        return list(process.children(recursive=True))
    return []


def descendants_titled(title: str) -> list[psutil.Process]:
    """The processes below this one with these words in their title."""
    return [child for child in descendants(psutil.Process()) if title in title_of(child)]


def end_with_descendants(child: subprocess.Popen[bytes]) -> None:
    """Kill a step that is still running, and its engines."""
    running: list[psutil.Process] = []
    if child.poll() is None:
        running = [*descendants(psutil.Process(child.pid)), psutil.Process(child.pid)]
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def main(name: str, module: str, function: str, device: Device, scratch: str, findings: str) -> None:
    """Write each finding immediately. An error of this project is a finding, any other error ends the process."""
    check = getattr(import_module(module), function)
    try:
        for finding in check(Scene(device, Path(scratch))):
            write_finding(Path(findings), finding)
    except SafechainError as error:
        write_finding(Path(findings), Subject(name).failed("error", str(error), "see the message"))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
