"""Insertion of untrusted text into a judge's prompt: control tokens and structure marks are broken up.

A judged response is hostile input. Three ways to forge a part of the prompt are closed:

1. Control tokens of chat formats in the text could become the tokens themselves, and end its turn.
2. Tags that structure the prompt (`</transcript>`) could close the judged text early.
3. A slot in the text (`{prompt}`) stays text: all slots of a template are filled in one pass.
"""

import re
from collections.abc import Collection, Mapping

from safechain_ray.catalog.judge_forms import SLOT

_CONTROL_TOKEN = re.compile(
    r"<(\|[^|<>\s]{1,64}\||｜[^｜<>]{1,64}｜|/?s|unk|pad|bos|eos|(?:start|end)_of_turn)>|\[(/?INST|/?SYSTEM_PROMPT)\]"
)
"""Control tokens of Llama 2 to 4, Qwen and other ChatML models, DeepSeek, Gemma, Granite, Harmony and Mistral."""

_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,40}>")
"""A tag in a template, for example `</transcript>` or `<END CONVERSATION>`."""


def without_control_tokens(text: str) -> str:
    """`text` with control tokens broken up, so that it can't write turns of its own into the prompt.

    Example:
        >>> without_control_tokens("stop <|eot_id|> here")
        'stop < |eot_id| > here'
    """
    return _CONTROL_TOKEN.sub(lambda match: _apart(match[0]), text)


def marks_of(texts: Collection[str], more: Collection[str] = ()) -> re.Pattern[str] | None:
    """A pattern for the tags in the texts of a template, and for `more` marks; None without any. Case is ignored."""
    marks = {tag for text in texts for tag in _TAG.findall(text)} | set(more)
    if not marks:
        return None
    longest_first = sorted(marks, key=lambda mark: (-len(mark), mark))
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


def escaped(text: str, marks: re.Pattern[str] | None = None) -> str:
    """`text` with control tokens and `marks` broken up."""
    plain = without_control_tokens(text)
    return plain if marks is None else marks.sub(lambda match: _apart(match[0]), plain)


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with its slots filled in one pass: a slot inside a value stays text.

    Example:
        >>> fill("Q: {prompt} A: {response}", {"prompt": "say {response}", "response": "no"})
        'Q: say {response} A: no'
    """
    return SLOT.sub(lambda match: values[match[1]], template)


def _apart(mark: str) -> str:
    return f"{mark[0]} {mark[1:-1]} {mark[-1]}"
