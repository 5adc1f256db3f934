"""GPU check of engines: one engine, two on one GPU, one on two GPUs, one on every GPU, and one after another.

`check_memory_released` checks that a GPU's memory is free for the next engine, after a close and after a crash. One
engine is checked for its start, kernels, conformance cases and repeatability of seeds.
"""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from safechain_ray.catalog import judges, models
from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.cluster.session import ray_session
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.doctor.installation import check_installation
from safechain_ray.commands.evaluate import evaluate
from safechain_ray.commands.gpu_check.cases import (
    CASES,
    SAMPLED,
    CaseError,
    RunningEngine,
    ask,
    quickstart,
    running_engine,
)
from safechain_ray.commands.gpu_check.check import Scene, descendants_titled, share_of
from safechain_ray.commands.gpu_check.speed import write_model
from safechain_ray.engines.gpus import gpus_of_this_process, read_gpus
from safechain_ray.engines.start import EngineStart
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.errors import EngineDiedError, SafechainError
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.types import Completion, Request

SHARES = (0.4, 0.3)

DIVISIBLE = {
    "hidden_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 32,
    "dtype": "bfloat16",
}
"""A model shape with heads for two GPUs; the demo model has five heads."""

PLACEMENT_TIMEOUT = 60

IN_FLIGHT = 64

DEATH_TIMEOUT = 10.0


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
        if not group.wait(PLACEMENT_TIMEOUT):
            return subject.failed(check, "Ray did not place two GPUs", "look for their users in `ray status`")
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


def check_memory_released(scene: Scene) -> Iterator[Finding]:
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
    cores = descendants_titled("VLLM::EngineCor")
    if len(cores) != 1:
        return subject.failed(check, f"{len(cores)} engine cores were found", "report it with the engine's log")
    requests = [ask(running, sampling=SAMPLED, seed=seed) for seed in range(IN_FLIGHT)]

    async def killed_under_requests() -> tuple[list[Completion | BaseException], float]:
        answers = asyncio.gather(*map(running.engine.generate, requests), return_exceptions=True)
        await asyncio.sleep(0.05)
        cores[0].kill()
        killed = time.monotonic()
        outcomes = await asyncio.wait_for(answers, timeout=6 * DEATH_TIMEOUT)
        return outcomes, time.monotonic() - killed

    outcomes, seconds = running.wait(killed_under_requests())
    died = sum(isinstance(outcome, EngineDiedError) for outcome in outcomes)
    others = {repr(outcome) for outcome in outcomes if not isinstance(outcome, EngineDiedError | Completion)}
    detail = f"{died} of {IN_FLIGHT} requests ended with EngineDiedError after {seconds:.1f} s"
    if died == 0 or others or seconds > DEATH_TIMEOUT:
        return subject.failed(check, "; ".join([detail, *sorted(others)]), "report it with the engine's log")
    return subject.ok(check, detail)


SEEDED_REQUESTS = 64

LOGGED = {
    "attention backend": re.compile(r"Using (\w+?)(?: attention)? backend"),
    "CUDA graphs": re.compile(r"(Graph capturing finished[^\n]*)"),
    "KV cache": re.compile(r"((?:GPU|CPU) KV cache size: [^\n]*)"),
}
"""Lines of vLLM's log (0.25.1 to 0.33.0) that name the kernels and caches of an engine."""


def check_machine(scene: Scene) -> Iterator[Finding]:
    """The checks of `doctor` for the installation."""
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
    """The kernels and caches that the engine's log names."""
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
