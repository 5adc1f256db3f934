"""Engine protocol: conversations, requests and completions. Training examples: prompts with a target response."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

from safechain_ray.types.samples import Sampling
from safechain_ray.types.strict_numbers import FinishReason


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ThinkingTags:
    """Tags around a thought, and (Sky-T1) around an answer, in responses of a model family."""

    open: str
    close: str
    answer_open: str | None = None
    answer_close: str | None = None


NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to generate.

    `prompt` is the output of the engine's `render` followed by the strategy's prefill. It is the whole text, with
    special tokens (BOS too) written out. For an API, which applies the chat template itself, it is the messages as
    JSON.

    Without `skip_special_tokens` the text has special tokens, for families whose tags are such tokens. With a
    `thinking_budget` the engine closes the thought after so many tokens; only engines of vLLM can.
    """

    prompt: str
    sampling: Sampling
    max_tokens: int
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int = 0
    skip_special_tokens: bool = True
    thinking_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """An engine's response to a `Request`. `text` contains neither the prompt nor the stop string.

    `stop_string` is the member of `Request.stop` that ended the text, None if the model ended its turn itself.
    `logprobs` has one mapping a generated token, from token text to natural log-probability, most likely first.
    `thought_tokens` is the part of `completion_tokens` spent on the thought, None if the engine does not report it.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    stop_string: str | None = None
    logprobs: tuple[Mapping[str, float], ...] = ()
    thought_tokens: int | None = None


Generate = Callable[[Request], Awaitable[Completion]]
"""The only part of an engine that strategies and judges see. Raises `errors.RowError` for a bad request."""

CountTokens = Callable[[str], int]


class Engine(Protocol):
    """A language model that serves requests concurrently.

    Example:
        prompt = engine.render((Message("user", "Hello"),))
        completion = await engine.generate(Request(prompt, Sampling(), max_tokens=100))
    """

    @property
    def name(self) -> str:
        """The engine and its version, for the `engine` column."""

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of prompt and completion together."""

    def render(self, messages: tuple[Message, ...], arguments: Mapping[str, Any] = NO_ARGUMENTS) -> str:
        """The conversation as `Request.prompt`: text by the model's chat template, ready for the assistant's turn.

        `arguments` are the template's own (`enable_thinking`). For an API they are keys of the request's body.
        """

    def count_tokens(self, text: str) -> int: ...

    def last_tokens(self, text: str, count: int) -> str:
        """The end of `text` covered by its last `count` tokens (at least 1); all of a shorter text."""

    async def generate(self, request: Request) -> Completion: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier turn of a conversation, without its thought: chat templates omit earlier thoughts."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A training example: a prompt with the target response, a thought and an answer.

    Thought and answer have no tags and no surrounding line breaks. `thought` is None in a set without thoughts.
    `system` is the data's system turn. `earlier` are the turns before the prompt, which carry no loss. `row` counts
    from 1, without a header. A conversation with loss on all its turns gives several demonstrations of one row.
    `provenance` has the other columns of the row (id, category, source, scores).
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
        """The first request of the conversation."""
        return self.earlier[0].prompt if self.earlier else self.prompt
