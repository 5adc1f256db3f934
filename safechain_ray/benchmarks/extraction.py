"""Extraction of code from a model's answer: the right fenced block, or the answer itself without one."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from textwrap import dedent, indent

PYTHON_WORDS = frozenset({"python", "python3", "py"})

# As in CommonMark, the text after the backticks of a fence contains no backtick: ```x = 1``` is no fence.
_FENCE = re.compile(r"[ \t]*(?P<marks>`{3,}(?!.*`)|~{3,})[ \t]*(?P<language>[^\s`{]*)")

_TRIPLE = re.compile(r'("""|\'\'\')|#.*|"(?:\\.|[^"\\])*+"?|\'(?:\\.|[^\'\\])*+\'?')

# The start of a line of Python, which is rare in prose.
_STATEMENT = re.compile(
    r"""^[ \t]*(?:
        (?:async[ ]+)?def[ ]+\w+[ ]*\( | class[ ]+\w+[ ]*[:(] | @\w+
        | import[ ]+[\w.]+(?:[ ]*,[ ]*[\w.]+|[ ]+as[ ]+\w+)*[ \t]*$ | from[ ]+[\w.]+[ ]+import[ ]
        | (?:if|elif|while|except)\b.*:[ \t]*$ | for[ ].*[ ]in[ ].*: | with[ ].*\(.*:[ \t]*$ | (?:try|else|finally):
        | return\b(?!.*\.[ \t]*$) | [\w.]+(?:\[[^\]]*\])?(?:[ ]*,[ ]*[\w.]+)*[ ]*[-+*/%|&^]?=(?!=)[ ]*\S
        | [\w.]+\(.*\)[ \t]*$
    )""",
    re.MULTILINE | re.VERBOSE,
)


MOST_STARTS = 20
"""Maximum number of candidate first lines before a closing fence; each candidate parses the text."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of Markdown.

    `language` is the text after its opening marks, in lower case. `closed` is False for a block without a closing
    fence, which ends with the text. It opens at line `opening` of `lines`, the whole text: a block stores no copy of
    the preceding text, because an answer may have 100,000 blocks.
    """

    language: str
    text: str
    closed: bool = True
    lines: list[str] = field(default_factory=list, repr=False, compare=False)
    opening: int = field(default=0, repr=False, compare=False)

    @property
    def before(self) -> str:
        """The text before the block."""
        return "\n".join(self.lines[: self.opening])


def extract_code(answer: str, defining: str | None = None) -> str | None:
    """The last block marked as Python, else the last without a language, else the whole answer; None for an empty one.

    1. Of these blocks, the last one that defines `defining` comes first: many answers end with an example of use.
    2. A closed block comes before an unclosed one.
    3. A single fence without a language may open or close the code. The side that defines `defining` is the code, else
       the side with lines of Python, with the text after the fence first. If neither has any, there is no code: prose
       is not graded.
    4. Text before a single closing fence may begin with prose. If it does not parse as a whole, the code begins at the
       first statement from which the rest parses, else at the first statement.

    The code may be the start of a function or its body alone. Only rule 4 parses text.
    """
    blocks = list(fenced_blocks(answer))
    if len(blocks) == 1 and not blocks[0].closed and not blocks[0].language:
        return _beside_fence(blocks[0], defining)
    blocks = [block for block in blocks if block.text.strip()]
    candidates = [block for block in blocks if block.language in PYTHON_WORDS] or [
        block for block in blocks if not block.language
    ]
    if candidates:
        meant = [block for block in candidates if defining is not None and defines(block.text, defining)] or candidates
        return ([block for block in meant if block.closed] or meant)[-1].text
    # A block in another language is no Python.
    return answer if answer.strip() and not blocks else None


def defines(code: str, name: str) -> bool:
    """Whether the code defines a function or class of that name anywhere."""
    return re.search(rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+{re.escape(name)}\b", code, re.MULTILINE) is not None


def fenced_blocks(text: str) -> Iterator[Block]:
    """The fenced blocks in their order, without the indentation of their fence. The last one may be unclosed.

    As in CommonMark, except for two habits of models:

    - A fence with a language inside a block opens a new block; the block before it is unclosed.
    - A fence inside a triple-quoted string belongs to the string, if both the string and the block are closed.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    start, knows_strings = 0, True
    while start < len(lines):
        block, start, knows_strings = _next_block(lines, start, knows_strings)
        if block is not None:
            yield block


def _next_block(lines: list[str], start: int, knows_strings: bool) -> tuple[Block | None, int, bool]:
    """The first block from line `start` on, the line after it, and whether strings are still considered.

    After a string without an end, strings are ignored, so that no text is scanned more than twice.
    """
    opening = next((number for number in range(start, len(lines)) if _FENCE.match(lines[number])), len(lines))
    opened = _FENCE.match(lines[opening]) if opening < len(lines) else None
    if opened is None:
        return None, len(lines), knows_strings
    quotes, in_string = "", None
    for number in range(opening + 1, len(lines)):
        fence = _FENCE.match(lines[number])
        if fence and fence["marks"].startswith(opened["marks"]):
            is_end = not lines[number][fence.end("marks") :].strip()
            if quotes and knows_strings:
                in_string = in_string or (number if is_end else None)
            elif is_end:
                return _block(opened, lines, opening, number, closed=True), number + 1, knows_strings
            elif fence["language"]:
                return _block(opened, lines, opening, number, closed=False), number, knows_strings
        quotes = _quotes_after(lines[number], quotes)
    if in_string is not None:
        return _block(opened, lines, opening, in_string, closed=True), in_string + 1, False
    return _block(opened, lines, opening, len(lines), closed=False), len(lines), knows_strings


def _quotes_after(line: str, quotes: str) -> str:
    """The quotes of the triple-quoted string that is open after a line, "" for none; `quotes` are open before it."""
    place = 0
    while True:
        if quotes:
            end = re.compile(rf"(?:\\.|[^\\])*?{quotes}").match(line, place)
            if end is None:
                return quotes
            place, quotes = end.end(), ""
        opening = next((token for token in _TRIPLE.finditer(line, place) if token[1]), None)
        if opening is None:
            return ""
        place, quotes = opening.end(), opening[1]


def _block(opened: re.Match[str], lines: list[str], opening: int, end: int, *, closed: bool) -> Block:
    text = "\n".join(lines[opening + 1 : end])
    if not closed:
        text = text.rstrip("\n")
    return Block(
        opened["language"].lower(),
        dedent(text) if opened.start("marks") else text,
        closed,
        lines,
        opening,
    )


def _beside_fence(block: Block, defining: str | None) -> str | None:
    """The code of an answer with a single fence without a language: after the fence, or before it."""
    sides = [side for side in (block.text, block.before) if side.strip()]
    meant = [side for side in sides if defining is not None and defines(side, defining)]
    code = next((side for side in (*meant, *filter(_STATEMENT.search, sides))), None)
    return _without_prose(code) if code is not None and code == block.before else code


def _without_prose(text: str) -> str:
    """The text from its first statement on, if it does not parse as a whole.

    A line of prose may look like a statement ("with this (short) code:"), so later starts are tried too.
    """
    if _is_python(text):
        return text
    starts = [text[match.start() :] for match in islice(_STATEMENT.finditer(text), MOST_STARTS)]
    return next(filter(_is_python, starts), starts[0] if starts else text)


def _is_python(text: str) -> bool:
    """Whether it parses, or is the body of a function, which may lack the indentation of its first line."""
    return any(map(_parses, (text, f"def _():\n{indent(dedent(text), '    ')}", f"def _():\n    {text.lstrip(' ')}")))


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
