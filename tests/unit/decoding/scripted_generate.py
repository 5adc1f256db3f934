"""A `generate` that answers from a script and keeps the requests it got."""

import asyncio
from collections.abc import Iterable

from safechain_ray.decoding.base import Decoded, DecodingTask, Strategy
from safechain_ray.types import Completion, Request, Sampling, ThinkingTags

R1 = ThinkingTags("<think>", "</think>")
PROMPT = "<|User|>Q<|Assistant|>"


class ScriptedGenerate:
    def __init__(self, replies: Iterable[Completion]) -> None:
        self._replies = iter(replies)
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Completion:
        assert request.max_tokens > 0
        self.requests.append(request)
        return next(self._replies)


def closes(text: str, tokens: int) -> Completion:
    """The model would close its thought here."""
    return Completion(text, 7, tokens, "stop", stop_string="</think>")


def ends(text: str, tokens: int) -> Completion:
    """The model ends its turn."""
    return Completion(text, 7, tokens, "stop")


def runs_out(text: str, tokens: int) -> Completion:
    """The model is cut at the tokens asked for."""
    return Completion(text, 7, tokens, "length")


def count_words(text: str) -> int:
    return len(text.split())


def task(prompt: str = PROMPT, seed: int | None = 1, tags: ThinkingTags | None = R1, **sampling: float) -> DecodingTask:
    return DecodingTask(prompt, tags, Sampling(**{"temperature": 0.6, "max_tokens": 100, **sampling}), seed)


def decode(strategy: Strategy, the_task: DecodingTask, *replies: Completion) -> tuple[Decoded, list[Request]]:
    generate = ScriptedGenerate(replies)
    decoded = asyncio.run(strategy.decode(the_task, generate, count_words))
    return decoded, generate.requests
