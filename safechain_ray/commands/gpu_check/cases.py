"""Conformance cases of engines, which the engine tests and the GPU check run on a real vLLM engine."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.engines.start import Device, EngineStart
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.errors import RowError
from safechain_ray.types import Completion, Engine, Message, Request, Sampling

Result = TypeVar("Result")


@dataclass(frozen=True)
class RunningEngine:
    engine: Engine
    loop: asyncio.AbstractEventLoop

    def wait(self, work: Awaitable[Result]) -> Result:
        async def waited() -> Result:
            return await work

        return self.loop.run_until_complete(waited())

    def complete(self, *requests: Request) -> list[Completion]:
        """All requests at once."""

        async def together() -> list[Completion]:
            return list(await asyncio.gather(*map(self.engine.generate, requests)))

        return self.wait(together())

    def chat(self, prompt: str) -> str:
        """The prompt's text after the chat template."""
        return self.engine.render((Message("user", prompt),))

    def close(self) -> None:
        self.wait(self.engine.close())


@contextmanager
def running_engine(
    needs: EngineNeeds,
    device: Device,
    log_file: Path,
    loop: asyncio.AbstractEventLoop,
    memory_share: float | None = None,
) -> Iterator[RunningEngine]:
    """An engine that is closed at the end. Raises EngineStartError if it does not start."""
    running = RunningEngine(start_vllm(EngineStart(needs, device, log_file, memory_share=memory_share)), loop)
    try:
        yield running
    finally:
        running.close()


GREEDY = Sampling(max_tokens=300)

SAMPLED = Sampling(temperature=0.8, top_p=0.95, max_tokens=300)

BOS = "<｜begin▁of▁sentence｜>"


class CaseError(AssertionError):
    """An engine fails a case."""


def ask(running: RunningEngine, **changes: object) -> Request:
    """A greedy request of the demo reasoner, with `changes` to its fields."""
    request = Request(running.chat("How do I bake bread?"), GREEDY, max_tokens=300)
    return replace(request, **changes)  # type: ignore[arg-type]


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise CaseError(what)


def greedy_answers_repeat(running: RunningEngine) -> None:
    first, second = running.complete(ask(running), ask(running))
    expect(first.text == second.text, f"two greedy answers differ: {first.text!r}, {second.text!r}")
    expect((first.finish_reason, first.stop_string) == ("stop", None), f"the answer ended with {first.finish_reason}")


def tokens_are_counted_without_a_second_bos(running: RunningEngine) -> None:
    request = ask(running)
    (completion,) = running.complete(request)
    expect(request.prompt.count(BOS) == 1, "the template does not write BOS once")
    counted = running.engine.count_tokens(request.prompt)
    expect(completion.prompt_tokens == counted, f"{completion.prompt_tokens} prompt tokens, {counted} counted")
    expect(completion.completion_tokens >= running.engine.count_tokens(completion.text), "too few completion tokens")


def a_stop_string_ends_the_text_and_is_named(running: RunningEngine) -> None:
    (completion,) = running.complete(ask(running, stop=("</think>",)))
    expect(completion.stop_string == "</think>", f"the stop string is {completion.stop_string!r}")
    expect("</think>" not in completion.text, "the stop string is in the text")


def the_token_limit_is_a_finish_reason(running: RunningEngine) -> None:
    (completion,) = running.complete(ask(running, max_tokens=3))
    found = (completion.finish_reason, completion.completion_tokens)
    expect(found == ("length", 3), f"3 tokens were allowed, and the answer ended with {found}")


def log_probabilities_are_ranked(running: RunningEngine) -> None:
    (completion,) = running.complete(ask(running, logprobs=10, max_tokens=5))
    expect(len(completion.logprobs) == 5, f"{len(completion.logprobs)} positions of 5 have log-probabilities")
    for position in completion.logprobs:
        values = list(position.values())
        expect(values == sorted(values, reverse=True), "log-probabilities are not ranked")
        expect(sum(map(math.exp, values)) <= 1.0 + 1e-4, "probabilities sum to more than one")


def a_prompt_longer_than_the_context_fails_alone(running: RunningEngine) -> None:
    try:
        running.complete(ask(running, prompt=running.chat("word " * 5000)))
    except RowError as error:
        expect("the model's context holds" in str(error), f"the error is {error}")
    else:
        raise CaseError("a prompt longer than the context was answered")
    (completion,) = running.complete(ask(running))
    expect(completion.finish_reason == "stop", "the next request is not answered")


def what_does_not_fit_behind_the_prompt_is_cut(running: RunningEngine) -> None:
    prompt = running.chat("word " * 1990)
    room = running.engine.context_length - running.engine.count_tokens(prompt)
    expect(0 < room < 300, f"the case needs little room behind its prompt, and has {room}")
    (completion,) = running.complete(ask(running, prompt=prompt, max_tokens=300))
    expect(completion.completion_tokens <= room, f"{completion.completion_tokens} tokens in a room of {room}")


CASES: Mapping[str, Callable[[RunningEngine], None]] = {
    case.__name__.replace("_", " "): case
    for case in (
        greedy_answers_repeat,
        tokens_are_counted_without_a_second_bos,
        a_stop_string_ends_the_text_and_is_named,
        the_token_limit_is_a_finish_reason,
        log_probabilities_are_ranked,
        a_prompt_longer_than_the_context_fails_alone,
        what_does_not_fit_behind_the_prompt_is_cut,
    )
}
