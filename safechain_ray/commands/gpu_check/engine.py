"""GPU check, machine and engine: start, kernels, conformance cases, repeatable seeds."""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from safechain_ray.catalog import models
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.commands.doctor.installation import check_installation
from safechain_ray.commands.gpu_check.cases import CASES, SAMPLED, CaseError, RunningEngine, ask, running_engine
from safechain_ray.commands.gpu_check.check import Scene, share_of
from safechain_ray.types import Completion, Request

SEEDED_REQUESTS = 64

LOGGED = {
    "attention backend": re.compile(r"Using (\w+?)(?: attention)? backend"),
    "CUDA graphs": re.compile(r"(Graph capturing finished[^\n]*)"),
    "KV cache": re.compile(r"((?:GPU|CPU) KV cache size: [^\n]*)"),
}
"""Lines of vLLM's log (0.25.1 to 0.33.0) with the kernels and caches of an engine."""


def check_machine(scene: Scene) -> Iterator[Finding]:
    """All checks of `doctor` on the installation."""
    yield from check_installation()


def check_engine(scene: Scene) -> Iterator[Finding]:
    """Start an engine of the demo model and run the conformance cases on it."""
    subject, log = Subject("engine"), scene.log("engine")
    began = time.monotonic()
    with (
        asyncio.Runner() as runner,
        running_engine(models()["demo-reasoner"], scene.device, log, runner.get_loop(), scene.small_share) as running,
    ):
        yield subject.ok("start", f"{running.engine.name} answers after {time.monotonic() - began:.0f} s")
        yield from logged(subject, log)
        for name, case in CASES.items():
            try:
                case(running)
            except CaseError as error:
                yield subject.failed(name, str(error), f"report it with the engine's log, {log}")
            else:
                yield subject.ok(name, "holds")


def logged(subject: Subject, log: Path) -> Iterator[Finding]:
    """The kernels and caches of an engine, by its log."""
    text = log.read_text(errors="replace")
    for check, pattern in LOGGED.items():
        found = pattern.findall(text)
        yield subject.ok(check, found[-1].strip()) if found else subject.not_checked(check, "the log does not name it")


def check_seeds(scene: Scene) -> Iterator[Finding]:
    """The same seeded requests one by one, in a batch, and in a batch again; reports the shares of equal texts."""
    subject = Subject("seeds")
    with (
        asyncio.Runner() as runner,
        running_engine(
            models()["demo-reasoner"], scene.device, scene.log("seeds"), runner.get_loop(), scene.small_share
        ) as running,
    ):
        requests = [ask(running, sampling=SAMPLED, seed=seed) for seed in range(SEEDED_REQUESTS)]
        crowd, again = running.complete(*requests), running.complete(*requests)
        yield _equal(subject, "in a crowd, twice", crowd, again)
        yield _equal(subject, "alone and in a crowd", _one_by_one(running, requests), crowd)
        different = len({completion.text for completion in crowd})
        if different < SEEDED_REQUESTS // 4:
            yield subject.failed("different seeds", f"{different} different texts", "report it: seeds are not used")
        else:
            yield subject.ok("different seeds", f"{share_of(different, SEEDED_REQUESTS)} texts differ")


def _one_by_one(running: RunningEngine, requests: Sequence[Request]) -> list[Completion]:
    return [running.complete(request)[0] for request in requests]


def _equal(subject: Subject, check: str, first: Sequence[Completion], second: Sequence[Completion]) -> Finding:
    equal = sum(one.text == other.text for one, other in zip(first, second, strict=True))
    return subject.ok(check, f"{share_of(equal, len(first))} texts are equal")
