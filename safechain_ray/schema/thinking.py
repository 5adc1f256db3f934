"""Where thinking tags in a text open and close a thought."""

from dataclasses import dataclass
from typing import Literal

from safechain_ray.schema.calls import ThinkingTags

TagForm = Literal["closed", "unclosed", "unopened", "none"]
"""Both tags; only the opening tag; only the closing tag (the chat template opened the thought); no tag that counts."""


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text at its thinking tags. `thought` and `answer` are pieces of the text, in order, blanks included."""

    thought: str
    answer: str
    form: TagForm


def read_tags(text: str, tags: ThinkingTags) -> TaggedText:
    """Divide `text` at its first closing tag. Never raises.

    1. An opening tag counts only at the start of the text, after blanks. A repeated opening tag is dropped.
    2. After an opening tag the first closing tag ends the thought.
    3. Without an opening tag the first closing tag ends the thought only at the start or the end of a line, and with no
       opening tag before it. Otherwise the text mentions tags in prose, and the whole text is the answer.
    4. Closing tags that directly follow the first one are dropped.
    """
    inside = _without_repeated(text, tags.open)
    thought, close, answer = (text if inside is None else inside).partition(tags.close)
    if inside is not None and not close:
        return TaggedText(thought, "", "unclosed")
    if not close or (inside is None and not _closes_alone(thought, answer, tags)):
        return TaggedText("", text, "none")
    rest = _without_repeated(answer, tags.close)
    return TaggedText(thought, answer if rest is None else rest, "unopened" if inside is None else "closed")


def without_tags(thought: str, tags: ThinkingTags) -> str:
    """A thought that a server hands over apart, without tags that the server left at its ends."""
    inside = _without_repeated(thought, tags.open)
    text = (thought if inside is None else inside).strip()
    while text.endswith(tags.close):
        text = text.removesuffix(tags.close).rstrip()
    return text


def _closes_alone(before: str, after: str, tags: ThinkingTags) -> bool:
    if tags.open in before:
        return False
    starts_line = not before.rpartition("\n")[2].strip()
    ends_line = not after.partition("\n")[0].strip()
    return starts_line or ends_line


def _without_repeated(text: str, tag: str) -> str | None:
    """`text` after all the `tag`s that it starts with; None where it starts with none. Blanks may surround each tag."""
    found: str | None = None
    start = text.lstrip()
    while start.startswith(tag):
        found = start.removeprefix(tag)
        start = found.lstrip()
    return found
