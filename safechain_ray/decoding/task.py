"""What a decoding strategy is given and hands back."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from safechain_ray.schema import FinishReason, Sampling, ThinkingTags

Kept = Mapping[str, str | int | None]
"""What a strategy of many calls has of a response that is not finished; empty at its start."""

Keep = Callable[[Kept], None]


def forget(kept: Kept) -> None:
    """For whoever begins anew after a fault."""


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


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded response.

    `prefill` is what was written for the model at its start, by the template or the strategy; `text` is everything
    after it, generated and injected. `prompt_tokens` are those of the first call (the prefill among them);
    `completion_tokens` are those of `text`, `thought_tokens` those of its thought where the engine told them.
    """

    prefill: str
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    forced_rounds: int = 0
    thought_tokens: int | None = None

    @property
    def response(self) -> str:
        """The thought and the answer as the judge sees them."""
        return self.prefill + self.text


class StrategyOptions(BaseModel):
    """The options of a strategy that has none; the base of all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
