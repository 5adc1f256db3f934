"""Strategies of one call: the default, ZeroThink and LessThink (arXiv:2502.12025, section 4).

`default` does not control the thought, `zerothink` prefills an empty one, and `lessthink` one of one sentence.
"""

from dataclasses import dataclass

from safechain_ray.decoding.base import (
    Decoded,
    DecodingTask,
    OneCallOptions,
    Strategy,
    bos_twice,
    required_tags,
    split_begun,
)
from safechain_ray.types import CountTokens, Generate, Request

Options = OneCallOptions

THOUGHT = "Okay, the user ask for this, I can answer it without thinking much. "
"""LessThink's thought, character by character as in the published code, with the space at its end."""


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Prefills `<open>\\n<thought>\\n<close>\\n\\n`, then lets the model answer.

    The prompt text is built here: R1's chat template strips assistant text before the closing tag, so it can't render a
    prefill.

    Judges read the prefill as part of the thought. With `compat: paper` they read only the generated text, as in the
    published code (resp_gen.py of github.com/uw-nsl/safechain stores the completion alone), and BOS is sent twice.
    """

    thought: str
    options: OneCallOptions

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        tags = required_tags(task)
        turn, _ = split_begun(task.prompt, tags)
        prefill = f"{tags.open}\n{self.thought}\n{tags.close}\n\n"
        published = self.options.compat == "paper"
        prompt = bos_twice(turn + prefill) if published else turn + prefill
        completion = await generate(Request(prompt, task.sampling, task.sampling.max_tokens, task.seed))
        return Decoded.of_one_call(prefill, completion, judge_prefill=not published)


def build_zerothink(options: OneCallOptions) -> Strategy:
    return Prefilled("", options)


def build_lessthink(options: OneCallOptions) -> Strategy:
    return Prefilled(THOUGHT, options)


@dataclass(frozen=True, slots=True)
class Default:
    """One call. With `compat: paper` BOS is sent twice, and judges do not read the template's opening tag."""

    options: OneCallOptions

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        _, begun = split_begun(task.prompt, task.tags)
        published = self.options.compat == "paper"
        prompt = bos_twice(task.prompt) if published else task.prompt
        completion = await generate(Request(prompt, task.sampling, task.sampling.max_tokens, task.seed))
        return Decoded.of_one_call(begun, completion, judge_prefill=not published)


def build_default(options: OneCallOptions) -> Strategy:
    return Default(options)
