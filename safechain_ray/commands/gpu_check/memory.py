"""GPU check, memory: is a GPU free again for the next engine, after one was closed and after one died."""

import asyncio
import time
from collections.abc import Iterator

import psutil

from safechain_ray.catalog import judges, models
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.commands.gpu_check.cases import SAMPLED, ask
from safechain_ray.commands.gpu_check.running_engine import RunningEngine, running_engine
from safechain_ray.commands.gpu_check.scene import Scene
from safechain_ray.errors import EngineDiedError
from safechain_ray.types import Completion

IN_FLIGHT = 64
DEATH_SECONDS = 10.0


def check_memory_given_back(scene: Scene) -> Iterator[Finding]:
    """Close the model's engine and start the judge's at once; kill that one's core; start another one."""
    subject = Subject("memory")
    guard = judges()["demo-guard"].engine
    assert guard is not None
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        with running_engine(models()["demo-reasoner"], scene.device, scene.log("memory-model"), loop) as running:
            running.complete(ask(running))
        closed = time.monotonic()
        with running_engine(guard, scene.device, scene.log("memory-judge"), loop):
            yield subject.ok("judge after model", f"answers {time.monotonic() - closed:.0f} s after the model's end")
        with running_engine(models()["demo-reasoner"], scene.device, scene.log("memory-killed"), loop) as running:
            yield _killed(subject, running)
        died = time.monotonic()
        with running_engine(models()["demo-reasoner"], scene.device, scene.log("memory-again"), loop) as running:
            running.complete(ask(running))
            yield subject.ok("engine after a killed one", f"answers {time.monotonic() - died:.0f} s later")


def _killed(subject: Subject, running: RunningEngine) -> Finding:
    """Kill the engine's core under its requests: each must end with an error soon."""
    check = "engine core killed"
    cores = [
        child for child in psutil.Process().children(recursive=True) if "VLLM::EngineCor" in " ".join(child.cmdline())
    ]
    if len(cores) != 1:
        return subject.failed(check, f"{len(cores)} engine cores were found", "report it with the engine's log")
    requests = [ask(running, sampling=SAMPLED, seed=seed) for seed in range(IN_FLIGHT)]

    async def killed_under_requests() -> tuple[list[Completion | BaseException], float]:
        answers = asyncio.gather(*map(running.engine.generate, requests), return_exceptions=True)
        await asyncio.sleep(0.05)
        cores[0].kill()
        killed = time.monotonic()
        outcomes = await asyncio.wait_for(answers, timeout=6 * DEATH_SECONDS)
        return outcomes, time.monotonic() - killed

    outcomes, seconds = running.wait(killed_under_requests())
    died = sum(isinstance(outcome, EngineDiedError) for outcome in outcomes)
    others = {repr(outcome) for outcome in outcomes if not isinstance(outcome, EngineDiedError | Completion)}
    detail = f"{died} of {IN_FLIGHT} requests ended with EngineDiedError after {seconds:.1f} s"
    if died == 0 or others or seconds > DEATH_SECONDS:
        return subject.failed(check, "; ".join([detail, *sorted(others)]), "report it with the engine's log")
    return subject.ok(check, detail)
