"""Text of models: splits at thinking tags, neutralises special tokens, and replaces what UTF-8 can't encode.

1. `read_tags` splits a response into thought and answer. `without_tags` strips tags from a separate thought.
2. `broken_up` makes special tokens and tags plain text, so that neither a tokenizer nor `read_tags` finds them.
3. `well_formed` replaces halves of surrogate pairs. UTF-8 and Arrow can't store them, and one would fail its block.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from safechain_ray.types.calls import ThinkingTags

TagForm = Literal["closed", "unclosed", "unopened", "none"]
"""`unopened`: only the closing tag, because the chat template opened the thought. `none`: no tag that counts."""

APOSTROPHES = "'’"

OPENING_MARKS = "([{<‘«‹「『" + APOSTROPHES

EMPHASIS = "*_|"


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text split at its thinking tags. `thought` and `answer` are substrings, in order, with their blanks."""

    thought: str
    answer: str
    form: TagForm


def read_tags(text: str, tags: ThinkingTags) -> TaggedText:
    """Divide `text` at its first closing tag. Never raises.

    1. An opening tag counts only at the start of the text, after blanks. A repeated opening tag is dropped.
    2. After an opening tag the first closing tag ends the thought.
    3. Without an opening tag the first closing tag ends the thought in two places: at the start or the end of a line,
       and glued to the text on both sides. Otherwise it is prose, and the whole text is the answer.
    4. A glued closing tag inside quotes, brackets or a code span is prose too.
    5. An opening tag later in the text may form a pair with the closing tag: on one line, or at the start or the end
       of a line. The closing tag is prose then. Otherwise a blank beside the closing tag makes it prose.
    6. Closing tags that directly follow the first one are dropped.

    Example:
        >>> read_tags("Okay done.</think>Sure.", ThinkingTags("<think>", "</think>"))
        TaggedText(thought='Okay done.', answer='Sure.', form='unopened')
        >>> read_tags("The tag </think> is XML.", ThinkingTags("<think>", "</think>")).form
        'none'
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
    """A thought that a server returned separately, without the tags that the server left at its ends."""
    inside = _without_repeated(thought, tags.open)
    text = (thought if inside is None else inside).strip()
    end = len(text)
    while text.endswith(tags.close, 0, end):
        end -= len(tags.close)
        while end and text[end - 1].isspace():
            end -= 1
    return text[:end]


def _closes_alone(before: str, after: str, tags: ThinkingTags) -> bool:
    """Whether a closing tag between these texts ends a thought that the text does not open."""
    line, rest = before.rpartition("\n")[2], after.partition("\n")[0]
    starts_line, ends_line = not line.strip(), not rest.strip()
    no_blanks = (starts_line or not line[-1].isspace()) and (ends_line or not rest[0].isspace())
    glued = no_blanks and not _is_quoted(before, line, rest)
    if tags.open in before:
        return glued and not _is_paired(before, line, tags.open)
    return starts_line or ends_line or glued


def _is_paired(before: str, line: str, opening: str) -> bool:
    edges = (each.strip() for each in before.split("\n"))
    return opening in line or any(each.startswith(opening) or each.endswith(opening) for each in edges)


def _is_quoted(before: str, line: str, rest: str) -> bool:
    """Whether the tag is inside code or a quotation. A quotation that ends before the tag is text of a thought."""
    inside = before.count("`") % 2 or line.count('"') % 2 or line.count("“") > line.count("”")
    left, right = line[-1:], rest[:1]
    wrapped = left in OPENING_MARKS or right in APOSTROPHES or (left == right and left in EMPHASIS)
    return bool(inside or (left and right and wrapped))


def _without_repeated(text: str, tag: str) -> str | None:
    """`text` after all the `tag`s that it starts with; None where it starts with none. Blanks may surround each tag."""
    match = _repeated(tag).match(text)
    return None if match is None else text[match.end() :]


@cache
def _repeated(tag: str) -> re.Pattern[str]:
    """Possessive quantifiers: a server can send a megabyte of one tag, and the event loop waits for the match."""
    return re.compile(rf"(?:\s*{re.escape(tag)})++")


ZERO_WIDTH_SPACE = "\u200b"


def broken_up(text: str, tokens: Collection[str]) -> str:
    """`text` with a zero-width space inside each of `tokens`.

    Example:
        >>> broken_up("stop <|eot_id|> here", ["<|eot_id|>"]) == "stop <\u200b|eot_id|> here"
        True
    """
    for token in tokens:
        text = text.replace(token, token[0] + ZERO_WIDTH_SPACE + token[1:])
    return text


def well_formed(text: str) -> str:
    """`text` with each half of a surrogate pair replaced by U+FFFD; whole pairs become their character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def well_formed_tree(value: Any) -> Any:
    """`value` with all its texts well-formed, in lists, tuples and mappings (keys too)."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list | tuple):
        return [well_formed_tree(each) for each in value]
    if isinstance(value, dict):
        return {well_formed_tree(key): well_formed_tree(each) for key, each in value.items()}
    return value
