"""MoreThink's options, and which words take the place of a closing tag."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Literal

from pydantic import Field

from safechain_ray.decoding.task import DecodingTask, StrategyOptions
from safechain_ray.types import short_hash

PHRASES = ("Wait", "Let me think again")
"""Published code (github.com/uw-nsl/safechain), injected as they are, with no space or line break around them."""

Choose = Callable[[Random, Sequence[str]], str]
"""Picks one of the phrases; given the sample's own random generator."""


class MoreThinkOptions(StrategyOptions):
    """Options of `morethink`, the defaults being the paper's."""

    max_rounds: int = Field(10, ge=0, strict=True, description="most times that the thought is kept open")
    think_budget: int = Field(10_000, ge=1, strict=True, description="most tokens of the thought")
    compat: Literal["none", "paper"] = Field("none", description="`paper` makes the calls of the published code")


def phrases_of(task: DecodingTask, choose: Choose) -> Iterator[str]:
    """The phrases to inject, one a round, without end: equal for equal tasks, in every process.

    A greedy sample has no seed of its own, so the prompt takes part too: its choices still differ between prompts.
    """
    random = Random(short_hash("morethink", task.sampling.seed, task.seed, task.prompt))
    while True:
        yield choose(random, PHRASES)
