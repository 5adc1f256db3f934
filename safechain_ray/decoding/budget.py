"""Thinking budget: the engine closes the thought after a number of tokens, and the model answers.

vLLM counts the tokens after the opening tag, the line break after it included. It then forces the closing tag, so the
thought may end inside a sentence. A thought that is shorter ends by itself. Without an opening tag nothing is counted.
"""

from dataclasses import dataclass

from pydantic import Field

from safechain_ray.decoding.base import Decoded, DecodingTask, Strategy, StrategyOptions, required_tags, split_begun
from safechain_ray.types import LARGEST_INT32, CountTokens, Generate, Request


class Options(StrategyOptions):
    """Options of `budget`."""

    tokens: int = Field(ge=0, le=LARGEST_INT32, strict=True, description="most tokens of the thought")


@dataclass(frozen=True, slots=True)
class Budget:
    """One call with a `thinking_budget`, which only engines of vLLM accept."""

    options: Options

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        _, begun = split_begun(task.prompt, required_tags(task))
        completion = await generate(
            Request(
                task.prompt,
                task.sampling,
                task.sampling.max_tokens,
                task.seed,
                thinking_budget=self.options.tokens,
            )
        )
        return Decoded.of_one_call(begun, completion)


def build(options: Options) -> Strategy:
    return Budget(options)
