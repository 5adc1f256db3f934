"""What a decoding strategy is given and hands back."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal, Protocol, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from safechain_ray.types import FinishReason, Sampling, StrictNumbers, ThinkingTags, short_hash

Kept = Mapping[str, str | int | None]
"""What a strategy of many calls has of a response that is not finished; empty at its start."""

Keep = Callable[[Kept], None]


def forget(kept: Kept) -> None:
    """For whoever begins anew after a fault."""


class HasRounds(Protocol):
    """What a strategy of many calls keeps of a response."""

    rounds: int


State = TypeVar("State", bound=HasRounds)


def kept_state(kept: Kept, kind: type[State], most_rounds: int) -> State | None:
    """`kept` as the state that the strategy wrote, a dataclass of type `kind`.

    None where nothing is kept, and where another version or a damaged file left something else: the response is then
    decoded from its start.
    """
    if kept.keys() != {each.name for each in fields(kind)}:  # type: ignore[arg-type]  # a dataclass
        return None
    try:
        state = TypeAdapter(kind).validate_python(dict(kept))
    except ValidationError:
        return None
    return state if state.rounds <= most_rounds else None


NotNegative = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class DecodingTask:
    """One response to decode.

    `prompt` is rendered by the chat template, ready for the assistant's turn; newer R1 templates end it with
    `<think>\\n` already. `seed` is the sample's own, None under greedy decoding. A strategy of many calls tells `keep`
    after each one what it needs to go on, and goes on from `kept` where an earlier try at the task was cut off.
    """

    prompt: str
    tags: ThinkingTags | None
    sampling: Sampling
    seed: int | None
    kept: Kept = field(default_factory=dict)
    keep: Keep = forget

    def call_seed(self, number: int) -> int | None:
        """The seed of the sample's call `number`, from 0: its own for each call, the same after a resume.

        vLLM seeds its generator for every request. With one seed for all calls of a sample, every call draws the same
        random numbers, and the text after an injected phrase repeats the text before it. The first
        call has the sample's own seed.
        """
        if self.seed is None or number == 0:
            return self.seed
        return int(short_hash("call", self.seed, number), 16) % 2**31


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded response.

    `prefill` is what was written for the model at its start, by the template or the strategy; `text` is everything
    after it, generated and injected. `prompt_tokens` are those of the first call (the prefill among them);
    `completion_tokens` are those of `text`, `thought_tokens` those of its thought where the engine told them.
    `judge_prefill` is False where judges see only what was generated, as in the published code.
    """

    prefill: str
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    forced_rounds: int = 0
    thought_tokens: int | None = None
    judge_prefill: bool = True

    @property
    def whole(self) -> str:
        """The model's turn from its first character, prefill included: what is split into thought and answer."""
        return self.prefill + self.text

    @property
    def response(self) -> str:
        """What judges see of the response. The published code strips what was generated."""
        return self.whole if self.judge_prefill else self.text.strip()


class StrategyOptions(StrictNumbers):
    """The options of a strategy that has none; the base of all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OneCallOptions(StrategyOptions):
    """Options of the strategies of one call: `default`, `zerothink`, `lessthink`."""

    compat: Literal["none", "paper"] = Field(
        "none", description="`paper` sends and judges what the published code does: BOS twice, no prefill judged"
    )


_BOS = re.compile(r"<｜begin▁of▁sentence｜>|<\|begin_of_text\|>|<s>")
"""The BOS tokens of R1's, Llama 3's and Llama 2's tokenizers, which put one before every text they are given."""


def bos_twice(prompt: str) -> str:
    """`prompt` with a second BOS where the chat template writes one, as it reaches a model of the published codes.

    resp_gen.py of github.com/uw-nsl/safechain and EvalPlus hand the rendered text to vLLM, whose tokenizer adds a BOS
    of its own. Templates without BOS (QwQ, Sky-T1) and APIs are sent the same prompt either way.
    """
    opening = _BOS.match(prompt)
    return prompt if opening is None else opening.group() + prompt


def split_opening(prompt: str, tags: ThinkingTags | None) -> tuple[str, str]:
    """`prompt` as (what comes before, the opening tag that ends it with the whitespace after it).

    The second piece is "" where the template does not open the thought. Only the end of the prompt counts: a user's
    request may hold the tag anywhere.
    """
    if tags is None:
        return prompt, ""
    opening = re.search(rf"{re.escape(tags.open)}\s*\Z", prompt)
    if opening is None:
        return prompt, ""
    return prompt[: opening.start()], opening.group()


def required_tags(task: DecodingTask) -> ThinkingTags:
    """The task's tags; `check_strategy` has refused a family without them when the config was read."""
    if task.tags is None:
        raise ValueError("this strategy needs a model family with thinking tags")
    return task.tags
