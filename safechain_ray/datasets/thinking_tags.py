"""Thinking tags in training data: split of a response into thought and answer, and detection of foreign tags."""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from safechain_ray import catalog
from safechain_ray.types import ThinkingTags

R1_TAGS = ThinkingTags("<think>", "</think>")
"""Default tags of training data, for every model."""

NO_FAMILY = "no family of the catalog"
OTHER_TAGS: Mapping[str, ThinkingTags] = {
    "<thinking>": ThinkingTags("<thinking>", "</thinking>"),
    "<reasoning>": ThinkingTags("<reasoning>", "</reasoning>"),
    "[THINK]": ThinkingTags("[THINK]", "[/THINK]"),
    "◁think▷": ThinkingTags("◁think▷", "◁/think▷"),
    "<seed:think>": ThinkingTags("<seed:think>", "</seed:think>"),
}
"""Tags of models without a family in the catalog: common in prompts, Magistral's, Kimi's and Seed-OSS'."""

NAMES_AT_START = ("analysis", "scratchpad", "reflection")
"""XML names of thoughts that are common in documents too. They count only at the start of a response."""

CONTROL_TOKENS = ThinkingTags("<|think|>", "<|/think|>"), ThinkingTags("<|channel|>analysis<|message|>", "<|end|>")
"""Control-token tags, the second is gpt-oss'. They count at the start or as a pair, because prose may mention one."""

_HARMONY_START = re.compile(
    r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?:analysis|commentary|final)[^<]*<\|(?:message|constrain)\|>",
    re.I,
)


def split_thought(response: str, tags: ThinkingTags = R1_TAGS) -> tuple[str, str]:
    """Thought and answer of `response`, whose opening tag may be missing.

    Unlike `split_response`, which reads a model's output, this accepts only one closed, non-empty thought with an
    answer after it: a model would learn any other form.

    Raises:
        ValueError: the response has another form; the message names the fault.
    """
    text = response.lstrip()
    body = text.removeprefix(tags.open)
    closings = body.count(tags.close)
    if closings == 0:
        opened = "the thought is never closed" if tags.open in text else "the response holds no thought"
        raise ValueError(f"{opened}: no {tags.close}")
    if closings > 1 or tags.open in body:
        raise ValueError(f"the response holds {tags.open} or {tags.close} more than once, or out of place")
    thought, _, answer = body.partition(tags.close)
    if not thought.strip():
        raise ValueError(f"the thought before {tags.close} is empty")
    answer = _without_answer_tags(answer, tags)
    if not answer.strip():
        raise ValueError(f"the answer after {tags.close} is empty")
    return thought.strip("\n"), answer.strip("\n")


def _without_answer_tags(answer: str, tags: ThinkingTags) -> str:
    """The text between the answer's own tags, for a family that has them (Sky-T1)."""
    if tags.answer_open is None or tags.answer_close is None:
        return answer
    inner = answer.strip()
    if not inner.startswith(tags.answer_open) or not inner.endswith(tags.answer_close):
        raise ValueError(f"the answer is not between {tags.answer_open} and {tags.answer_close}")
    inner = inner.removeprefix(tags.answer_open).removesuffix(tags.answer_close)
    if tags.answer_open in inner or tags.answer_close in inner:
        raise ValueError(f"the response holds {tags.answer_open} or {tags.answer_close} more than once")
    return inner


def foreign_tag(text: str, own: ThinkingTags | None) -> tuple[str, str] | None:
    """(tag, family) of the first tag in `text` that belongs to another family than `own`; None without one.

    A tag written like a control token (`<|...|>`) counts anywhere. A tag that could be prose or XML counts only if it
    structures the text: the opening tag at the start, or a closing tag without an opening one. Case, blanks within a
    tag and attributes are ignored. A tag that differs from the family's spelling has the family `NO_FAMILY`.
    """
    start = text.lstrip()
    for family, tags in _known_tags():
        if own is not None and tags.open == own.open:
            continue
        found = next(
            (
                _found(tag, match.group(), family)
                for tag in (tags.open, tags.close, tags.answer_open, tags.answer_close)
                if tag is not None and tag.startswith("<|") and (match := _pattern(tag).search(text))
            ),
            None,
        )
        if found is not None:
            return found
        if opening := _pattern(tags.open).match(start):
            return _found(tags.open, opening.group(), family)
        closing = _pattern(tags.close).search(text)
        if closing and not _pattern(tags.open).search(text, 0, closing.start()):
            return _found(tags.close, closing.group(), family)
    return _other_form(text, start)


def _other_form(text: str, start: str) -> tuple[str, str] | None:
    """The first tag of `NAMES_AT_START` or `CONTROL_TOKENS`."""
    patterns = (*(_pattern(f"<{name}>") for name in NAMES_AT_START), _HARMONY_START)
    if opening := next((match for pattern in patterns if (match := pattern.match(start))), None):
        return opening.group(), NO_FAMILY
    for tags in CONTROL_TOKENS:
        opening = _pattern(tags.open).search(text)
        if opening and (not text[: opening.start()].strip() or _pattern(tags.close).search(text, opening.end())):
            return opening.group(), NO_FAMILY
    return None


def _found(tag: str, written: str, family: str) -> tuple[str, str]:
    return written, family if written == tag else NO_FAMILY


@cache
def _pattern(tag: str) -> re.Pattern[str]:
    """A case-insensitive pattern of a tag, with blanks between its parts and optional attributes of an XML name."""
    parts = [re.escape(part) for part in re.findall(r"\w+|[^\w\s]", tag)]
    if re.fullmatch(r"<[\w:]+>", tag):
        parts[-1] = r"(?:\s[^<>]*)?>"
    return re.compile(r"[ \t]*".join(parts), re.IGNORECASE)


def _known_tags() -> Iterator[tuple[str, ThinkingTags]]:
    seen = set()
    for name, family in catalog.families().items():
        if family.tags is not None and family.tags.open not in seen:
            seen.add(family.tags.open)
            yield name, family.tags
    for tags in OTHER_TAGS.values():
        yield NO_FAMILY, tags
