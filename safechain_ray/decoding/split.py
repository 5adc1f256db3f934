"""A response split into its thought and its answer."""

from dataclasses import dataclass

from safechain_ray.types import ThinkingTags, read_tags


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
    - With no tag that counts nothing was thought: the whole is the answer, the thought is empty.
    - Tags around the answer (Sky-T1) are dropped at its two ends, each where it stands.

    Both parts are pieces of the response, in order. Never raises.
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
