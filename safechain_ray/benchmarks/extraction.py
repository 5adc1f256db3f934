"""The code in a model's answer: the fenced block that is meant, or the answer itself where it has none."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent

PYTHON_WORDS = frozenset({"python", "python3", "py"})

_FENCE = re.compile(r"[ \t]*(?P<marks>`{3,}|~{3,})[ \t]*(?P<language>[^\s`{]*)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of Markdown. `language` is what follows its opening marks, in lower case."""

    language: str
    text: str


def extract_code(answer: str, defining: str | None = None) -> str | None:
    """The last block marked as Python, else the last without a language, else the whole answer; None for an empty one.

    Of these blocks the last that defines `defining` goes before all others: many answers end with an example of use.
    Nothing is parsed, so that it may be the start of a function or its body alone.
    """
    blocks = [block for block in fenced_blocks(answer) if block.text.strip()]
    candidates = [block.text for block in blocks if block.language in PYTHON_WORDS] or [
        block.text for block in blocks if not block.language
    ]
    if candidates:
        meant = [text for text in candidates if defining is not None and defines(text, defining)]
        return (meant or candidates)[-1]
    # Fenced in another language, it is no Python.
    return answer if answer.strip() and not blocks else None


def defines(code: str, name: str) -> bool:
    """Whether a function or class of that name is defined somewhere in it."""
    return re.search(rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+{re.escape(name)}\b", code, re.MULTILINE) is not None


def fenced_blocks(text: str) -> Iterator[Block]:
    """The fenced blocks in their order, without the indentation of their fence; the last may lack its end."""
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if opened is None:
            opened, lines = fence, []
        elif fence and fence["marks"].startswith(opened["marks"]) and not line[fence.end("marks") :].strip():
            yield _block(opened, lines)
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        yield _block(opened, lines)


def _block(opened: re.Match[str], lines: list[str]) -> Block:
    text = "\n".join(lines)
    return Block(opened["language"].lower(), dedent(text) if opened.start("marks") else text)
