"""The default strategy: the model decodes as it likes, in one call."""

from safechain_ray.decoding.base import Strategy
from safechain_ray.decoding.task import Decoded, DecodingTask, StrategyOptions, split_opening
from safechain_ray.schema import CountTokens, Generate, Request

Options = StrategyOptions


class Default:
    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        _, opening = split_opening(task.prompt, task.tags)
        completion = await generate(Request(task.prompt, task.sampling, task.sampling.max_tokens, task.seed))
        return Decoded(
            prefill=opening,
            text=completion.text,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            thought_tokens=completion.thought_tokens,
        )


def build(options: StrategyOptions) -> Strategy:
    return Default()
