"""GPU check, several engines: two on one GPU, one over two GPUs, one on every GPU; and one after another.

A GPU must be free again for the next engine after an engine was closed, and after an engine died.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psutil
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from safechain_ray.catalog import judges, models
from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.cluster.session import ray_session
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.commands.evaluate import evaluate
from safechain_ray.commands.gpu_check.cases import SAMPLED, RunningEngine, ask, running_engine
from safechain_ray.commands.gpu_check.check import Scene
from safechain_ray.commands.gpu_check.reference import quickstart
from safechain_ray.commands.gpu_check.speed import write_model
from safechain_ray.engines.gpus import gpus_of_this_process, read_gpus
from safechain_ray.engines.start import EngineStart
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.errors import EngineDiedError, SafechainError
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.types import Completion

SHARES = (0.4, 0.3)

DIVISIBLE = {
    "hidden_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 32,
    "dtype": "bfloat16",
}

"""A shape whose heads two GPUs divide; the demo model has five."""

GROUP_SECONDS = 60


def check_sharing(scene: Scene) -> Iterator[Finding]:
    """Model and judge on one GPU at once, each with a share of its memory."""
    subject = Subject("sharing")
    guard = judges()["demo-guard"].engine
    assert guard is not None
    shares = SHARES if scene.device == "cuda" else (None, None)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        with (
            running_engine(models()["demo-reasoner"], scene.device, scene.log("shared-a"), loop, shares[0]) as model,
            running_engine(guard, scene.device, scene.log("shared-b"), loop, shares[1]) as judge,
        ):
            requests = [ask(model, sampling=SAMPLED, seed=seed) for seed in range(32)]
            (answers, verdicts) = model.wait(_both(model, judge, requests))
    yield subject.ok("model and judge together", f"{answers} and {verdicts} requests answered side by side")


async def _both(model: RunningEngine, judge: RunningEngine, requests: list[Any]) -> tuple[int, int]:
    answers, verdicts = await asyncio.gather(
        asyncio.gather(*map(model.engine.generate, requests)), asyncio.gather(*map(judge.engine.generate, requests))
    )
    return len(answers), len(verdicts)


def check_several(scene: Scene) -> Iterator[Finding]:
    """Tensor parallelism by vLLM's own processes and by Ray, and a replica on every GPU."""
    subject, gpus = Subject("several GPUs"), len(gpus_of_this_process(read_gpus()))
    if scene.device == "cpu" or gpus < 2:
        yield subject.not_checked("tensor parallelism", f"{gpus} GPUs here, two are needed")
        return
    folder = scene.scratch / "divisible-model"
    write_model(folder, DIVISIBLE)
    needs = models()["demo-reasoner"].model_copy(
        update={
            "source": str(folder),
            "dtype": "bfloat16",
            "tensor_parallel_size": 2,
            "engine_kwargs": {"load_format": "dummy"},
        }
    )
    yield _with_processes(subject, needs, scene)
    yield _with_ray(subject, needs, scene)
    yield _on_every_gpu(subject, gpus, scene)


def _with_processes(subject: Subject, needs: ModelEntry, scene: Scene) -> Finding:
    with asyncio.Runner() as runner, running_engine(needs, "cuda", scene.log("tensor"), runner.get_loop(), 0.2) as both:
        both.complete(ask(both, max_tokens=16))
    return subject.ok("tensor parallel 2", "answers, with vLLM's own processes")


def _with_ray(subject: Subject, needs: ModelEntry, scene: Scene) -> Finding:
    """vLLM's Ray executor in a placement group, as a replica over several nodes has it."""
    check = "tensor parallel 2 by Ray"
    start = EngineStart(needs, "cuda", scene.log("tensor-ray"), executor="ray", memory_share=None)
    with ray_session(None):
        group = placement_group([{"GPU": 1, "CPU": 1}] * 2)
        if not group.wait(GROUP_SECONDS):
            return subject.failed(check, "Ray did not place two GPUs", "see whether others hold them: `ray status`")
        place = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
        answer = ray.remote(num_cpus=0, scheduling_strategy=place)(_one_answer)
        try:
            tokens = ray.get(answer.remote(start))
        except ray.exceptions.RayError as error:
            return subject.failed(check, str(error).splitlines()[-1], f"see the engine's log, {start.log_file}")
        finally:
            remove_placement_group(group)
    return subject.ok(check, f"answers with {tokens} tokens, in a placement group")


def _one_answer(start: EngineStart) -> int:
    with asyncio.Runner() as runner:
        running = RunningEngine(start_vllm(start), runner.get_loop())
        (completion,) = running.complete(ask(running, max_tokens=16))
        running.close()
    return completion.completion_tokens


def _on_every_gpu(subject: Subject, gpus: int, scene: Scene) -> Finding:
    """A replica of the demo model on each GPU but one, which is the judge's."""
    check = "a replica on every GPU"
    keys = {
        "resources.device": "cuda",
        "resources.replicas": gpus - 1,
        "resources.judge_replicas": 1,
        "output": str(scene.scratch / "every-gpu"),
    }
    try:
        done = evaluate(quickstart(**keys), RecordingReporter(), start_vllm)
    except SafechainError as error:
        return subject.failed(check, str(error), "see the message")
    return subject.ok(check, f"{done.committed} samples by {gpus - 1} replicas, {done.errors} errors")


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
