"""The yardstick: `vllm.LLM.generate` with the engine arguments and the requests of a run, and nothing around it."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.cluster.sample_index import WorkItem
from safechain_ray.commands.gpu_check.timed_engine import WARM_UP_TOKENS, warm_up_texts
from safechain_ray.config import ResourcesConfig
from safechain_ray.engines.environment import KernelSources, engine_environment
from safechain_ray.engines.log_capture import captured_output
from safechain_ray.engines.start import RUNNING, Device, EngineStart
from safechain_ray.engines.vllm_arguments import engine_arguments
from safechain_ray.engines.weights import weights_location
from safechain_ray.model_files import render_chat
from safechain_ray.runs.resolve import ResolvedRun
from safechain_ray.types import Message

OF_THE_MODEL = {"model", "revision", "dtype", "max_model_len", "tensor_parallel_size", "trust_remote_code"}
"""Arguments that say what is run, and not how fast."""


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
    """A `vllm.LLM` with the arguments that a replica's engine gets, in processes of its own as vLLM would have it.

    `in_process` keeps engine and model in the calling process, with all cores: the fastest way to run a tiny model.
    `own_defaults` leaves to vLLM what a model does not ask for.
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
        arguments = {name: arguments[name] for name in OF_THE_MODEL & arguments.keys()} | needs.engine_kwargs
    with captured_output(log_file):
        from vllm import LLM

        return LLM(**arguments)


def stop_llm(llm: Any) -> None:
    """End the engine's processes: left alone, they keep a child of `multiprocessing` from ending.

    At once: vLLM would wait five seconds for them, which are no part of anybody's work.
    """
    llm.llm_engine.engine_core.shutdown(timeout=0)


def warm_up(llm: Any) -> None:
    from vllm import SamplingParams

    prompts = [_tokens(llm, (Message("user", text),)) for text in warm_up_texts()]
    llm.generate(prompts, SamplingParams(temperature=0, max_tokens=WARM_UP_TOKENS), use_tqdm=False)


def generate(llm: Any, run: ResolvedRun) -> Generated:
    """Every sample of the run in one call. Prompts are rendered and tokenised before the clock starts."""
    items = list(run.worklist)
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


def _sampling(item: WorkItem) -> Any:
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
