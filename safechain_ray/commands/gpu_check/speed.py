"""GPU check of throughput: a run with dummy weights, compared with `vllm.LLM.generate`.

The baseline is `vllm.LLM.generate` with the engine arguments and the requests of the run.
`TimedEngine` records the start and the end of requests, so that a run's start-up is not counted as its time.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from safechain_ray.catalog.entries import EngineNeeds, ModelEntry
from safechain_ray.cluster.sample_index import SampleSpec
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.evaluate import evaluate
from safechain_ray.commands.gpu_check.check import Scene
from safechain_ray.config import ResourcesConfig, RunConfig, read_config
from safechain_ray.engines.start import RUNNING, Device, EngineStart, StartEngine, captured_output
from safechain_ray.engines.vllm import limits_of_a_step, start_vllm
from safechain_ray.engines.vllm_environment import KernelSources, engine_arguments, engine_environment
from safechain_ray.engines.weights import weights_location
from safechain_ray.model_files import render_chat
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.runs.resolve import ResolvedRun, resolve
from safechain_ray.types import NO_ARGUMENTS, Completion, Engine, Message, Request, Sampling

WARM_UP_REQUESTS = 32

WARM_UP_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Marks:
    """Measurements of one engine after its warm-up. Times are seconds of the system's clock."""

    first_request: float
    last_completion: float
    requests: int
    tokens: int
    mean_in_engine: float
    """Average number of requests in the engine, queued ones included. Below `max_running` it had free slots."""
    limits_of_a_step: tuple[int, int] | None
    """Most sequences and most tokens that vLLM schedules in one step; None for another engine."""


@dataclass(frozen=True)
class TimedEngines:
    """A `StartEngine` around another one. `notes` has a file for each timed `EngineNeeds.source`."""

    start_engine: StartEngine
    notes: Mapping[str, Path]

    def __call__(self, start: EngineStart) -> Engine:
        engine = self.start_engine(start)
        file = self.notes.get(start.needs.source)
        return engine if file is None else TimedEngine(engine, file)


class TimedEngine:
    """An `Engine` that warms up at its first request, then records each completion in a line of `file`."""

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine = engine
        _limits_file(file).write_text(json.dumps(getattr(engine, "limits_of_a_step", None)))
        self._file = file.open("a", encoding="utf-8", buffering=1)
        self._warming = asyncio.Lock()
        self._warm = False
        self._in_engine = 0

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    def render(self, messages: tuple[Message, ...], arguments: Mapping[str, Any] = NO_ARGUMENTS) -> str:
        return self._engine.render(messages, arguments)

    def count_tokens(self, text: str) -> int:
        return self._engine.count_tokens(text)

    def last_tokens(self, text: str, count: int) -> str:
        return self._engine.last_tokens(text, count)

    async def generate(self, request: Request) -> Completion:
        if not self._warm:
            await self._warm_up()
        self._in_engine += 1
        try:
            completion = await self._engine.generate(request)
        finally:
            self._in_engine -= 1
        self._note(completion.completion_tokens)
        return completion

    async def close(self) -> None:
        self._file.close()
        await self._engine.close()

    async def _warm_up(self) -> None:
        async with self._warming:
            if self._warm:
                return
            requests = [warm_up_request(self.render((Message("user", text),))) for text in warm_up_texts()]
            await asyncio.gather(*map(self._engine.generate, requests))
            self._note(0)
            self._warm = True

    def _note(self, tokens: int) -> None:
        self._file.write(f"{time.time()} {tokens} {self._in_engine}\n")


def warm_up_texts() -> list[str]:
    """Prompts before the clock starts. No benchmark prompt has the same prefix, so none profits from the cache."""
    return [f"Warm-up {number}: say something." for number in range(WARM_UP_REQUESTS)]


def warm_up_request(prompt: str) -> Request:
    return Request(prompt, Sampling(max_tokens=WARM_UP_TOKENS), WARM_UP_TOKENS)


def read_marks(file: Path) -> Marks:
    """The measurements that an engine recorded in `file`."""
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    times = [float(moment) for moment, _, _ in lines]
    spans = zip(pairwise(times), lines[1:], strict=True)
    limits = json.loads(_limits_file(file).read_text())
    request_seconds = sum((end - start) * int(in_engine) for (start, end), (_, _, in_engine) in spans)
    return Marks(
        first_request=times[0],
        last_completion=times[-1],
        requests=len(lines) - 1,
        tokens=sum(int(tokens) for _, tokens, _ in lines),
        mean_in_engine=request_seconds / max(times[-1] - times[0], 1e-9),
        limits_of_a_step=None if limits is None else (limits[0], limits[1]),
    )


def _limits_file(notes: Path) -> Path:
    return notes.with_name(f"{notes.name}.limits")


MODEL_ARGUMENTS = {"model", "revision", "dtype", "max_model_len", "tensor_parallel_size", "trust_remote_code"}
"""Arguments of the model, without those of its speed."""

SHAPE_OF_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "dtype": "bfloat16",
}
"""Llama 3's 8B without its vocabulary: the tokenizer is the demo model's, of 2,048 tokens."""

TARGET_RATIO = 0.95

REQUESTS, TOKENS = {"cuda": 4_096, "cpu": 512}, {"cuda": 512, "cpu": 128}


@dataclass(frozen=True, slots=True)
class Generated:
    """All outputs of one `LLM.generate`, in the order of the requests."""

    outputs: Sequence[Any]
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(len(output.outputs[0].token_ids) for output in self.outputs)


def start_llm(
    needs: EngineNeeds,
    device: Device,
    resources: ResourcesConfig,
    log_file: Path,
    in_process: bool = False,
    own_defaults: bool = False,
) -> Any:
    """A `vllm.LLM` with the arguments of a replica's engine, in vLLM's own processes.

    `in_process` keeps engine and model in the calling process, with all cores: the fastest way to run a tiny model.
    `own_defaults` uses vLLM's defaults for all other arguments.
    """
    start = EngineStart(
        needs,
        device,
        log_file,
        kv_cache_gigabytes=resources.cpu_kv_cache_gigabytes,
        max_running=resources.max_running or RUNNING,
        batch_invariant=resources.batch_invariant,
    )
    environment = engine_environment(start, os.environ, KernelSources.here())
    environment.pop("OMP_NUM_THREADS", None)  # all cores
    environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if in_process else "1"
    os.environ.update(environment)
    arguments = engine_arguments(start, weights_location(needs.source), os.environ)
    del arguments["enable_log_requests"]  # of AsyncLLM only
    if own_defaults:
        arguments = {name: arguments[name] for name in MODEL_ARGUMENTS & arguments.keys()} | needs.engine_kwargs
    with captured_output(log_file):
        from vllm import LLM

        return LLM(**arguments)


def stop_llm(llm: Any) -> None:
    """End the engine's processes, which otherwise keep a child of `multiprocessing` from ending.

    The timeout is 0: vLLM would wait five seconds, which would count as time of the benchmark.
    """
    llm.llm_engine.engine_core.shutdown(timeout=0)


def warm_up(llm: Any) -> None:
    from vllm import SamplingParams

    prompts = [_tokens(llm, (Message("user", text),)) for text in warm_up_texts()]
    llm.generate(prompts, SamplingParams(temperature=0, max_tokens=WARM_UP_TOKENS), use_tqdm=False)


def generate(llm: Any, run: ResolvedRun) -> Generated:
    """Every sample of the run in one call. Prompts are rendered and tokenised before the clock starts."""
    items = list(run.sample_specs)
    prompts = [_tokens(llm, run.family.conversation(item.prompt.text)) for item in items]
    parameters = [_sampling(item) for item in items]
    return timed_generate(llm, prompts, parameters)


def timed_generate(llm: Any, prompts: Sequence[Any], parameters: Any) -> Generated:
    started = time.monotonic()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    return Generated(outputs, time.monotonic() - started)


def render(llm: Any, messages: tuple[Message, ...]) -> str:
    """The conversation as prompt text, by the model's chat template."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return render_chat(llm.get_tokenizer(), turns)


def token_prompt(llm: Any, text: str) -> dict[str, list[int]]:
    """Prompt text as `LLM.generate` takes it; the template has written BOS already."""
    return {"prompt_token_ids": list(llm.get_tokenizer().encode(text, add_special_tokens=False))}


def _tokens(llm: Any, messages: tuple[Message, ...]) -> dict[str, list[int]]:
    return token_prompt(llm, render(llm, messages))


def _sampling(item: SampleSpec) -> Any:
    from vllm import SamplingParams

    sampling = item.setting.sampling
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        repetition_penalty=sampling.repetition_penalty,
        max_tokens=sampling.max_tokens,
        seed=item.seed,
    )


def check_speed(scene: Scene) -> Iterator[Finding]:
    """Tokens a second of the pipeline ÷ those of `LLM.generate`, same requests, same scheduler settings."""
    subject = Subject("speed")
    config = speed_run(scene)
    run = resolve(config)
    assert isinstance(run.model, ModelEntry)
    began = time.monotonic()
    done, limits = _direct(run, config, scene)
    direct = done.tokens / done.seconds
    detail = f"{direct:,.0f} tokens/s with {_described(limits)}; {time.monotonic() - began:.0f} s with its start"
    yield subject.ok("vllm.LLM.generate", detail)
    if scene.device == "cuda":
        own, own_limits = _direct(run, config, scene, own_defaults=True)
        speed = own.tokens / own.seconds
        yield subject.ok("vLLM's own defaults", f"{speed:,.0f} tokens/s with {_described(own_limits)}")
    notes = scene.scratch / "speed-notes.txt"
    completed = Completed()
    finished = evaluate(config, RecordingReporter(completed.note), TimedEngines(start_vllm, {run.model.source: notes}))
    marks = read_marks(notes)
    pipeline = marks.tokens / (completed.at - marks.first_request)
    if marks.limits_of_a_step != limits:
        yield subject.failed("same settings", f"the pipeline's engine has {marks.limits_of_a_step}", "report it")
    most = config.resources.max_running or 1
    yield subject.ok(
        "requests in the engine",
        f"{marks.mean_in_engine:.0f} on average, waiting ones too: {marks.mean_in_engine / most:.2f} of the {most} "
        "that are decoded at once",
    )
    detail = f"{pipeline:,.0f} tokens/s, {pipeline / direct:.3f} of vllm.LLM.generate; {finished.errors} errors"
    if finished.errors:
        yield subject.failed("pipeline", detail, "report it with the run's folder")
    elif pipeline < TARGET_RATIO * direct:
        yield subject.warning("pipeline", detail, "see requests in the engine: too few are a slow stream")
    else:
        yield subject.ok("pipeline", detail)


def speed_run(scene: Scene) -> RunConfig:
    """A run of one engine with random weights, of the demo model's shape on CPUs."""
    folder = scene.scratch / "speed-model"
    if not folder.exists():
        write_model(folder, SHAPE_OF_8B if scene.device == "cuda" else {})
    prompts = scene.scratch / "speed-prompts.csv"
    samples = 8
    numbers = range(REQUESTS[scene.device] // samples)
    lines = (f'"{number}: What would you say to a friend who asks about this?"' for number in numbers)
    prompts.write_text("\n".join(["prompt", *lines]) + "\n")
    flags = {
        "model.name": str(folder),
        "model.family": "demo",
        "model.engine.engine_kwargs": {"load_format": "dummy"},
        "datasets": [str(prompts)],
        "samples": samples,
        "sampling.temperature": 1.0,
        "sampling.max_tokens": TOKENS[scene.device],
        "judges": ["refusal-match"],
        "output": str(scene.scratch / "speed"),
        "resources.device": scene.device,
        "resources.replicas": 1,
        "resources.max_running": 256,
    }
    return read_config(None, flags, ())


def write_model(folder: Path, shape: dict[str, object]) -> None:
    """A model's folder with the demo model's tokenizer and a config of `shape`; vLLM creates dummy weights."""
    own = Path(weights_location("package://demo-reasoner"))
    folder.mkdir(parents=True)
    for file in own.iterdir():
        if file.suffix != ".safetensors" and file.is_file():
            shutil.copy(file, folder)
    config = json.loads((folder / "config.json").read_text()) | shape
    (folder / "config.json").write_text(json.dumps(config))


class Completed:
    """The time of the last commit, to half a second. The files of a finished run are merged after it."""

    def __init__(self) -> None:
        self.at = 0.0

    def note(self, snapshot: Snapshot) -> None:
        if not self.at and snapshot.is_complete:
            self.at = time.time()


def _described(limits: tuple[int, int]) -> str:
    return f"{limits[0]} sequences and {limits[1]:,} tokens a step"


def _direct(
    run: ResolvedRun, config: RunConfig, scene: Scene, own_defaults: bool = False
) -> tuple[Generated, tuple[int, int]]:
    assert isinstance(run.model, ModelEntry)
    log = scene.log("speed-direct")
    llm = start_llm(run.model, scene.device, config.resources, log, own_defaults=own_defaults)
    try:
        warm_up(llm)
        done = generate(llm, run)
        limits = limits_of_a_step(llm.llm_engine.vllm_config)
    finally:
        stop_llm(llm)
    return done, limits
