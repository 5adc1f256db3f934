"""Layouts of training sets: detection from column names, stored chat messages, and thinking tags in them.

If the config names no columns, the layout is detected. A set whose columns allow several layouts is refused, with all
of them in the message.

Message formats are those documented by TRL, LLaMA-Factory and the OpenAI API:
- `role` and `content`, or ShareGPT's `from` and `value`; roles in any case, `human` and `gpt` too;
- `developer` is OpenAI's newer name of the system role;
- content as text or as a list of parts; only text and thinking parts can be trained on;
- the thought of an assistant turn in a separate key (`reasoning_content`, `thinking`, `reasoning`, `thought`);
- a list of messages written as JSON text.

Thinking tags split a response into thought and answer. Tags of another model's format are detected.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from safechain_ray import catalog
from safechain_ray.catalog.row_entries import TrainingSetEntry
from safechain_ray.datasets.records import Records, as_text
from safechain_ray.errors import InputError
from safechain_ray.types import ThinkingTags

CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "messages_column": ("messages", "conversations", "conversation"),
    "prompt_column": ("prompt", "instruction", "question", "query", "problem"),
    "response_column": ("response", "completion", "output", "answer"),
    "thought_column": ("thought", "thinking", "reasoning", "reasoning_content"),
}
"""Common column names in lower case: of TRL, Alpaca, ShareGPT and published reasoning sets."""

INPUTS = ("input", "context")
"""Columns that belong to the prompt: Alpaca's and Dolly's."""

SYSTEM, HISTORY = "system", "history"
"""Alpaca's columns of earlier turns, as LLaMA-Factory reads them."""

ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
"""Roles in lower case: OpenAI's, ShareGPT's, and Gemini's `model`."""

ROLE_KEYS = ("role", "from")

CONTENT_KEYS = ("content", "value")

THOUGHT_KEYS = ("reasoning_content", "thinking", "reasoning", "thought")

CALL_KEYS = ("tool_calls", "function_call")


def with_layout(entry: TrainingSetEntry, records: Records) -> TrainingSetEntry:
    """`entry` with the columns of its demonstrations, and the columns that belong to their prompts.

    Raises:
        InputError: no layout fits, or more than one; or the text of two columns may belong to the prompt.
    """
    named = {} if entry.layout else _detected(records)
    system = _by_lower_case(records).get(SYSTEM)
    if entry.system_column is None and system is not None:
        named["system_column"] = system
    used = {*entry.columns.values(), *named.values()}
    if entry.input_column is None and (entry.prompt_column or "prompt_column" in named):
        named |= _input_column(records, used)
    return entry.model_copy(update=named)


def _input_column(records: Records, used: Collection[str]) -> dict[str, str]:
    """The column whose text follows the prompt. Without this text a model would learn answers to incomplete prompts."""
    columns = [column for column in records.columns if column.lower() in INPUTS and column not in used]
    filled = [column for column in columns if any(as_text(row.get(column)).strip() for row in records.rows)]
    if len(filled) > 1:
        raise InputError(
            f"The columns {' and '.join(filled)} of {records.source} may both belong to the prompt. Fix: name one of "
            "them with training_set.input_column, or '' for none."
        )
    found = filled or columns
    return {"input_column": found[0]} if found else {}


def _by_lower_case(records: Records) -> dict[str, str]:
    return {column.lower(): column for column in records.columns}


def _detected(records: Records) -> dict[str, str]:
    columns = _by_lower_case(records)
    found = {field: [columns[name] for name in names if name in columns] for field, names in CANDIDATES.items()}
    layouts = [{"messages_column": column} for column in found["messages_column"]]
    for prompt in found["prompt_column"]:
        for response in found["response_column"]:
            pair = {"prompt_column": prompt, "response_column": response}
            apart = [
                {"prompt_column": prompt, "thought_column": thought, "answer_column": response}
                for thought in found["thought_column"]
            ]
            layouts += apart or [pair]
    if len(layouts) == 1:
        return layouts[0]
    names = ", ".join(records.columns)
    fix = (
        "Fix: name the columns in training_set: messages_column; or prompt_column and response_column; or "
        "prompt_column, thought_column and answer_column."
    )
    if not layouts:
        raise InputError(
            f"{records.source} has no column 'messages', and no other columns known to contain demonstrations. "
            f"Its columns: {names}. {fix}"
        )
    readings = "".join(f"\n  {', '.join(f'{field}: {column}' for field, column in each.items())}" for each in layouts)
    raise InputError(f"The columns of {records.source} can be read in {len(layouts)} ways:{readings}\n{fix}")


class RowError(ValueError):
    """Why a row can't be trained on. The same error has the same text, so that rows can be counted by reason."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; `thought` comes from a separate key or part."""

    role: Literal["system", "user", "assistant"]
    text: str
    thought: str | None = None


def turns_of(value: object) -> list[Turn]:
    """The turns of a list of messages, or of such a list as JSON text.

    Raises:
        RowError: no list of messages, an unknown role, content that is no text, or a tool call.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RowError("the conversation is text that is not JSON") from error
    if not is_messages(value):
        raise RowError("the conversation is no list of messages")
    return [_turn(message) for message in value]  # type: ignore[attr-defined]


def is_messages(value: object) -> bool:
    """Whether `value` is a list of objects, as messages are."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        return False
    return all(isinstance(message, Mapping) for message in value)


def _turn(message: Mapping[str, object]) -> Turn:
    role = next((message[key] for key in ROLE_KEYS if message.get(key) is not None), None)
    content = next((message[key] for key in CONTENT_KEYS if message.get(key) is not None), None)
    if role is None or not any(key in message for key in CONTENT_KEYS):
        raise RowError("the conversation holds a message without role and content (or from and value)")
    known = ROLES.get(str(role).strip().lower())
    if known is None:
        raise RowError(f"the conversation holds a turn of role {str(role)[:40]!r}, which can't be learnt")
    if any(message.get(key) for key in CALL_KEYS):
        raise RowError(f"the {known} turn calls a tool, which can't be learnt")
    text, thoughts = _parts(content, known)
    thoughts += [_text(message[key], "thought") for key in THOUGHT_KEYS if message.get(key)]
    thoughts = list(dict.fromkeys(thought for thought in thoughts if thought.strip()))
    if len(thoughts) > 1:
        raise RowError(f"the {known} turn holds two different thoughts")
    if thoughts and known != "assistant":
        raise RowError(f"the {known} turn holds a thought")
    return Turn(known, text, thoughts[0] if thoughts else None)


def _parts(content: object, role: str) -> tuple[str, list[str]]:
    """Text and thoughts of a message's content."""
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, Sequence):
        raise RowError(f"the {role} turn is no text but a value of type {type(content).__name__}")
    texts, thoughts = [], []
    for part in content:
        kind = part.get("type") or "text" if isinstance(part, Mapping) else "text"
        body = part if isinstance(part, str) else part.get(str(kind)) if isinstance(part, Mapping) else None
        if kind == "text":
            texts.append(_text(body, f"{role} turn"))
        elif kind in THOUGHT_KEYS:
            thoughts.append(_text(body, "thought"))
        else:
            raise RowError(f"the {role} turn holds a part of type {str(kind)[:40]!r}, and only text can be learnt")
    return "".join(texts), thoughts


def _text(value: object, kind: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"the {kind} is no text but a value of type {type(value).__name__}")
    return value


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
    return _other_form(text, start, own)


def _other_form(text: str, start: str, own: ThinkingTags | None) -> tuple[str, str] | None:
    """The first tag of `NAMES_AT_START`, Harmony's channels at the start, or the first of `CONTROL_TOKENS`."""
    harmony = () if own is not None and _HARMONY_START.match(own.open) else (_HARMONY_START,)
    patterns = (*(_pattern(f"<{name}>") for name in NAMES_AT_START), *harmony)
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
        if family.tags is None or _HARMONY_START.match(family.tags.open):
            continue  # prose may name Harmony's channels: `_other_form` looks for them at the start
        if family.tags.open not in seen:
            seen.add(family.tags.open)
            yield name, family.tags
    for tags in OTHER_TAGS.values():
        yield NO_FAMILY, tags
