"""Text around thinking tags: the beginning of a turn in a rendered prompt, and the split of a response."""

import re
from dataclasses import dataclass
from functools import cache

from safechain_ray.types import ThinkingTags, read_tags

_BOS = re.compile(r"<｜begin▁of▁sentence｜>|<\|begin_of_text\|>|<s>")
"""The BOS tokens of R1's, Llama 3's and Llama 2's tokenizers, which add BOS to every text."""


def bos_twice(prompt: str) -> str:
    """`prompt` with a second BOS where the chat template writes one, as in the published codes.

    resp_gen.py of github.com/uw-nsl/safechain and EvalPlus pass the rendered text to vLLM, whose tokenizer adds a BOS
    of its own. Templates without BOS (QwQ, Sky-T1) and APIs are sent the same prompt either way.
    """
    opening = _BOS.match(prompt)
    return prompt if opening is None else opening.group() + prompt


@cache
def _opened_at_end(opening: str, close: str | None) -> re.Pattern[str]:
    """An opening tag at the end of a text; with `close` also one that is closed there."""
    closed = "" if close is None else rf"(?:{re.escape(close)}\s*)?"
    return re.compile(rf"{re.escape(opening)}\s*{closed}\Z")


def split_begun(prompt: str, tags: ThinkingTags | None) -> tuple[str, str]:
    """As `split_opening`, also for a thought that the template opens and closes: that of a model that shall not think.

    Example:
        >>> split_begun("Hi<think>\\n\\n</think>\\n\\n", ThinkingTags("<think>", "</think>"))
        ('Hi', '<think>\\n\\n</think>\\n\\n')
    """
    if tags is None:
        return prompt, ""
    begun = _opened_at_end(tags.open, tags.close).search(prompt)
    return (prompt, "") if begun is None else (prompt[: begun.start()], begun.group())


def split_opening(prompt: str, tags: ThinkingTags | None) -> tuple[str, str]:
    """`prompt` as (text before the opening tag, opening tag at the end with the whitespace after it).

    The second item is "" where the template does not open the thought. Only the end of the prompt counts: a user's
    request may have the tag anywhere.
    """
    if tags is None:
        return prompt, ""
    opening = _opened_at_end(tags.open, None).search(prompt)
    if opening is None:
        return prompt, ""
    return prompt[: opening.start()], opening.group()


@dataclass(frozen=True, slots=True)
class ResponseParts:
    """`thought` and `answer` without tags and without line breaks around them; both None where a family has no tags.

    `closed` is False where a thought was opened and never closed: the answer is then empty, the sample truncated.
    """

    thought: str | None
    answer: str | None
    closed: bool


def split_response(response: str, tags: ThinkingTags | None) -> ResponseParts:
    """Split `response` (the prefill included) at the first closing tag, by the rules of `read_tags`.

    - An opening tag counts only at the response's start; a template that opens the thought has it in the prefill.
    - Without a counted tag the whole response is the answer, and the thought is empty.
    - Tags around the answer (Sky-T1) are removed at its start and its end.

    Both parts are substrings of the response, in order. Never raises.
    """
    if tags is None:
        return ResponseParts(None, None, closed=True)
    text = read_tags(response, tags)
    if text.form == "unclosed":
        return ResponseParts(text.thought.strip("\n"), "", closed=False)
    return ResponseParts(text.thought.strip("\n"), _answer(text.answer, tags), closed=True)


def _answer(text: str, tags: ThinkingTags) -> str:
    if tags.answer_open is not None and text.lstrip().startswith(tags.answer_open):
        text = text.lstrip().removeprefix(tags.answer_open)
    if tags.answer_close is not None and text.rstrip().endswith(tags.answer_close):
        text = text.rstrip().removesuffix(tags.answer_close)
    return text.strip("\n")
