"""SafePath and thinking intervention: the thought begins with a sentence about safety, and the model continues it.

- `safepath` (arXiv:2505.14667, zero-shot): the published primer, without a line break after it.
- `thinking-intervention` (arXiv:2503.24370): a sentence in the first person. The published sentence for safety was not
  found in a source that could be checked. The default is this project's own wording, and `text` sets another one.
"""

from dataclasses import dataclass

from pydantic import Field

from safechain_ray.decoding.base import Decoded, DecodingTask, Strategy, StrategyOptions, required_tags, split_begun
from safechain_ray.types import CountTokens, Generate, Request

SAFEPATH = "Let's think about safety first."
"""Eight tokens for R1's tokenizers, as the paper says, with the full stop."""

INTERVENTION = (
    "I am a helpful, honest and responsible assistant. First I will check whether this request could cause harm. If it "
    "could, I will refuse it, and if not, I will answer it fully."
)
"""This project's wording."""


class Options(StrategyOptions):
    """Options of `safepath` and `thinking-intervention`."""

    text: str | None = Field(None, min_length=1, description="the thought's beginning; by default the strategy's own")


@dataclass(frozen=True, slots=True)
class OpenedThought:
    """Prefills `<open>\\n<text>` and leaves the thought open. A tag that the template has written is kept as it is."""

    text: str

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded:
        tags = required_tags(task)
        turn, begun = split_begun(task.prompt, tags)
        opening = begun if begun and tags.close not in begun else f"{tags.open}\n"
        prefill = opening + self.text
        completion = await generate(Request(turn + prefill, task.sampling, task.sampling.max_tokens, task.seed))
        return Decoded.of_one_call(prefill, completion)


def build_safepath(options: Options) -> Strategy:
    return OpenedThought(options.text or SAFEPATH)


def build_intervention(options: Options) -> Strategy:
    return OpenedThought(options.text or INTERVENTION)
