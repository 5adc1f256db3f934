"""The Llama Guard judge: one conversation in, `safe` or `unsafe` with hazard categories out."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.errors import InputError, RowError
from safechain_ray.judges.base import Judge, missing_verdict
from safechain_ray.judges.guard_output import read_output
from safechain_ray.types import Engine, Generate, Message, Part, Request, Sampling, Verdict

MAX_TOKENS = 20
"""Enough for the blank line, the decision and the first five categories or so."""

GREEDY = Sampling(temperature=0, max_tokens=MAX_TOKENS)
LOGPROBS = 20

_SPECIAL_TOKEN = re.compile(
    r"<\|(begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id|python_tag"
    r"|finetune_right_pad_id|reserved_special_token_\d+"
    r"|header_start|header_end|eot|eom|step|python_start|python_end|finetune_right_pad|fim_prefix|fim_middle|fim_suffix"
    r"|image|image_start|image_end|patch|tile_[xy]_separator|[a-z_]+_reserved_special_token_\d+)\|>"
)
"""The control tokens of Llama 3 and, in the last two lines, of Llama 4 (Meta's pages on their prompt formats).

As text in a response they would end the judged turn, or announce an image that is not there.
"""


@dataclass(frozen=True, slots=True)
class LlamaGuard:
    """Llama Guard over (the prompt, one part of the response), by its own chat template, greedily.

    `render` is the chat template of the judge's engine.
    """

    name: str
    generate: Generate
    render: Callable[[tuple[Message, ...]], str]

    async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
        """The score is P(unsafe) / (P(safe) + P(unsafe)). An over-long conversation is a verdict with an error."""
        conversation = (Message("user", _defused(prompt)), Message("assistant", _defused(text)))
        request = Request(self.render(conversation), GREEDY, MAX_TOKENS, logprobs=LOGPROBS)
        try:
            return read_output(self.name, part, await self.generate(request))
        except RowError as error:
            return missing_verdict(self.name, part, str(error))


def _defused(text: str) -> str:
    """`text` with control tokens broken up, so that judged text can't write turns of its own into the prompt."""
    return _SPECIAL_TOKEN.sub(r"<| \1 |>", text)


def build(entry: JudgeEntry, engine: Engine | None) -> Judge:
    if engine is None:
        raise InputError(f"Judge {entry.name!r} of kind llama_guard needs an engine: give its catalog entry `engine:`")
    return LlamaGuard(entry.name, engine.generate, engine.render)
