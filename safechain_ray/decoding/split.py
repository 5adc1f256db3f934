"""A response split into its thought and its answer."""

from dataclasses import dataclass

from safechain_ray.schema import ThinkingTags


@dataclass(frozen=True, slots=True)
class ResponseParts:
    """`thought` and `answer` without tags and without line breaks around them; both None where a family has no tags.

    `closed` is False where a thought was opened and never closed: the answer is then empty, the sample truncated.
    """

    thought: str | None
    answer: str | None
    closed: bool


def split_response(response: str, tags: ThinkingTags | None) -> ResponseParts:
    """Split `response` (the prefill included) at the first closing tag; later ones belong to the answer.

    - The opening tag is dropped from the response's start; a thought without one (templates or data that leave it
      out) ends at the closing tag all the same.
    - With neither tag nothing was thought: the whole is the answer, the thought is empty.
    - Tags around the answer (Sky-T1) are dropped at its two ends, each where it stands.

    Both parts are pieces of the response, in order. Never raises.
    """
    if tags is None:
        return ResponseParts(None, None, closed=True)
    thought, close, answer = _without_start(response, tags.open).partition(tags.close)
    if close:
        return ResponseParts(thought.strip("\n"), _answer(answer, tags), closed=True)
    if tags.open in response:
        return ResponseParts(thought.strip("\n"), "", closed=False)
    return ResponseParts("", _answer(response, tags), closed=True)


def _answer(text: str, tags: ThinkingTags) -> str:
    if tags.answer_open is not None:
        text = _without_start(text, tags.answer_open)
    if tags.answer_close is not None and text.rstrip().endswith(tags.answer_close):
        text = text.rstrip().removesuffix(tags.answer_close)
    return text.strip("\n")


def _without_start(text: str, tag: str) -> str:
    """`text` after `tag` where it starts with it (whitespace before is let pass), else `text` as it is."""
    start = text.lstrip()
    return start.removeprefix(tag) if start.startswith(tag) else text
