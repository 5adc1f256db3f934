"""Conversations, the requests that engines answer, and what an engine is.

What a model is trained on: a prompt with the response that it is to learn.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from safechain_ray.types.samples import Sampling
from safechain_ray.types.words import FinishReason


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ThinkingTags:
    """What opens and closes a thought, and (Sky-T1) an answer, in the text of a model family."""

    open: str
    close: str
    answer_open: str | None = None
    answer_close: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to generate.

    `prompt` is what the engine's `render` made, with what a strategy wrote behind it: the whole text, special tokens
    (BOS too) written out; for an API, which has its template on its own side, the messages as JSON.
    """

    prompt: str
    sampling: Sampling
    max_tokens: int
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine returned for a `Request`; `text` holds neither the prompt nor the stop string.

    `stop_string` is the member of `Request.stop` that ended it, None where the model ended its turn itself.
    `logprobs` has one mapping a generated token, from token text to natural log-probability, most likely first.
    `thought_tokens` are those of `completion_tokens` that were thought, where an engine knows (an API's bill).
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    stop_string: str | None = None
    logprobs: tuple[Mapping[str, float], ...] = ()
    thought_tokens: int | None = None


Generate = Callable[[Request], Awaitable[Completion]]

"""All that a strategy or a judge knows of an engine. Raises `safechain_ray.errors.RowError` for a bad request."""

CountTokens = Callable[[str], int]


class Engine(Protocol):
    """A language model that answers requests concurrently."""

    @property
    def name(self) -> str:
        """The engine and its version, for the `engine` column."""

    @property
    def context_length(self) -> int:
        """Tokens that prompt and completion may have together."""

    def render(self, messages: tuple[Message, ...]) -> str:
        """The conversation as `Request.prompt`: text by the model's chat template, ready for the assistant's turn."""

    def count_tokens(self, text: str) -> int: ...

    def last_tokens(self, text: str, count: int) -> str:
        """The end of `text` that its last `count` tokens (at least 1) stand for; all of it where it has no more."""

    async def generate(self, request: Request) -> Completion: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier request of a conversation and its answer. Its thought is left out, as templates leave it out."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt, and the response to it that a model is to learn: a thought and an answer.

    Both are without tags and without line breaks around them. `thought` is None in a set that has no thoughts at all.
    `system` is the data's system turn. `earlier` are the turns before the prompt, which carry no loss.
    `row` counts from 1, without a header; a conversation with loss on all its turns gives several demonstrations of one
    row. `provenance` is what else the row says (its id, category, source, scores).
    """

    row: int
    prompt: str
    thought: str | None
    answer: str
    system: str | None = None
    provenance: Mapping[str, object] = field(default_factory=dict, hash=False)
    earlier: tuple[Exchange, ...] = ()

    @property
    def first_prompt(self) -> str:
        """The request that opened the conversation."""
        return self.earlier[0].prompt if self.earlier else self.prompt
