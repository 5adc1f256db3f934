"""The default strategy: one call, without control of the thought."""

from dataclasses import dataclass

from safechain_ray.decoding.base import Decoded, DecodingTask, OneCallOptions, Strategy, bos_twice, split_opening
from safechain_ray.types import CountTokens, Generate, Request

Options = OneCallOptions


@dataclass(frozen=True, slots=True)
class Default:
    """One call. With `compat: paper` BOS is sent twice, and judges do not read the template's opening tag."""

    options: OneCallOptions

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        _, opening = split_opening(task.prompt, task.tags)
        published = self.options.compat == "paper"
        prompt = bos_twice(task.prompt) if published else task.prompt
        completion = await generate(Request(prompt, task.sampling, task.sampling.max_tokens, task.seed))
        return Decoded(
            prefill=opening,
            text=completion.text,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            thought_tokens=completion.thought_tokens,
            judge_prefill=not published,
        )


def build(options: OneCallOptions) -> Strategy:
    return Default(options)
