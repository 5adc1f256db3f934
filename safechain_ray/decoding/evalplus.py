"""EvalPlus' decoding of a chat model: the answer begins with an opened code block and ends at its closing fence."""

from dataclasses import dataclass

from pydantic import Field

from safechain_ray.decoding.base import Decoded, DecodingTask, Strategy, StrategyOptions, bos_twice, split_opening
from safechain_ray.errors import RowError
from safechain_ray.types import CountTokens, Generate, Request

RESPONSE_PREFIX = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:\n"
    "```python\n"
)
"""`response_prefix` of evalplus/codegen.py, and the fence that make_raw_chat_prompt of provider/utility.py adds."""

STOP = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(", "\n```\n")
"""`EOS` of evalplus/provider/utility.py, and the fence that provider/vllm.py adds for chat models."""


class Options(StrategyOptions):
    context_length: int = Field(2048, ge=1, strict=True, description="tokens of prompt and response together")


@dataclass(frozen=True, slots=True)
class EvalPlus:
    """Writes the start of the answer, so that a reasoning model answers without a thought.

    The opening tag that a chat template puts at the end of the prompt is removed. EvalPlus renders an assistant turn
    with the prefix, and such a turn has no thought. EvalPlus passes the rendered text to vLLM, whose tokenizer adds BOS
    before the template's BOS. So does this strategy.
    """

    context_length: int

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        """Decode one response. Raises RowError for a prompt that fills the context, and the errors of `generate`."""
        turn, _ = split_opening(task.prompt, task.tags)
        prompt = bos_twice(turn) + RESPONSE_PREFIX
        used = count_tokens(prompt)
        free_tokens = self.context_length - used
        if free_tokens < 1:
            raise RowError(
                f"the prompt takes {used} tokens, and EvalPlus' context has {self.context_length}. Fix: use the "
                "default style for this problem."
            )
        limit = min(task.sampling.max_tokens, free_tokens)
        completion = await generate(Request(prompt, task.sampling, limit, task.seed, stop=STOP))
        return Decoded(
            prefill=RESPONSE_PREFIX,
            text=completion.text,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            thought_tokens=None if task.tags is None else 0,
        )


def build(options: Options) -> Strategy:
    return EvalPlus(options.context_length)
