"""A whole thought written for the model: what `zerothink` and `lessthink` share."""

from dataclasses import dataclass

from safechain_ray.decoding.task import Decoded, DecodingTask, required_tags, split_opening
from safechain_ray.schema import CountTokens, Generate, Request


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Prefills `<open>\\n<thought>\\n<close>\\n\\n`, then lets the model answer.

    The prompt text is built here, as R1's chat template strips assistant text before the closing tag and so can't
    carry a prefill.
    """

    thought: str

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        tags = required_tags(task)
        turn, _ = split_opening(task.prompt, tags)
        prefill = f"{tags.open}\n{self.thought}\n{tags.close}\n\n"
        completion = await generate(Request(turn + prefill, task.sampling, task.sampling.max_tokens, task.seed))
        return Decoded(
            prefill=prefill,
            text=completion.text,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )
