"""Text in canonical form, without case, escapes, blanks and tags, and the way back to the text as it was written.

A server can send 10 MB of any text, and one process reads the answers of many requests: a slow scan delays all of them.

1. `canonical` and `CanonicalText` take linear time for any text. Every repetition in a pattern is bounded.
2. `CanonicalText.span` examines single characters only in the block of the text that holds the span.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

_ESCAPE = re.compile(
    r"\\\\{0,7}+(?:(?:u\{?00|x)(?P<backslash>[0-9a-fA-F]{2})\}?|(?P<itself>/))"
    r"|%(?:25){0,3}(?P<percent>[0-9a-fA-F]{2})"
    r"|&(?:amp;){0,3}#(?:[xX]0{0,6}(?P<hex>[0-9a-fA-F]{2})|0{0,6}(?P<decimal>[0-9]{2,3}));"
    r"|</?(?:think(?:ing)?|thought|reasoning|answer|\|(?:begin|end)_of_(?:thought|solution)\|)>"
    r"|\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|[\]PX^_][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[ -/]{0,8}[0-~])"
    r"|\x9b[0-?]{0,32}[ -/]{0,8}[@-~]"
)
"""One escaped ASCII character, a tag, or an ANSI sequence, which a terminal does not show. Each alternative begins with
a literal character, which `re` finds fast."""

_ESCAPE_ALONE = re.sub(r"\?P<\w+>", "?:", _ESCAPE.pattern)
"""Without groups: `re` of Python 3.11 loses count of groups in a possessive repetition."""

_BLOCK = re.compile(rf"(?:[^\\%&<\x1b\x9b]{{1,32}}+|{_ESCAPE_ALONE}|.){{1,32}}+", re.DOTALL)
"""At most 1024 characters that end outside of an escape: runs without escapes, escapes, and other characters."""

_CHANGED = re.compile(rf"{_ESCAPE_ALONE}|[^!-~]")
"""What may be more or less than one character in canonical form. The rest is ASCII without blanks."""

_NO_WIDTH = re.compile(
    "["
    "\u0000-\u001f\u007f-\u009f"  # controls, among them every second byte of UTF-16
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # format characters, tags, variation selectors
    "\ud800-\udfff"  # halves of surrogate pairs
    "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"  # combining marks
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # fillers
    "]"
)
"""Characters of no width of their own: a secret between whose characters they are written looks whole."""


def canonical(text: str) -> str:
    """`text` without case, escapes, blanks and tags."""
    plain = "".join(_ESCAPE.sub(_unescaped, text).split())
    return (plain if plain.isascii() and plain.isprintable() else _NO_WIDTH.sub("", plain)).casefold()


def without_canonical(text: str) -> str:
    """The blanks, tags and characters of no width in `text`, which its canonical form lacks."""
    return "".join(match[0] for match in _CHANGED.finditer(text) if not _of_piece(match[0]))


class CanonicalText:
    """The canonical form of a text, with the place of each of its characters in the text.

    Example:
        >>> written = CanonicalText("the k%65y")
        >>> written.canonical, written.span(3, 6)
        ('thekey', (4, 9))
    """

    def __init__(self, text: str) -> None:
        self._blocks = [match[0] for match in _BLOCK.finditer(text)]
        self._starts = [0, *accumulate(map(len, self._blocks))]
        parts = list(map(canonical, self._blocks))
        self._ends = list(accumulate(map(len, parts)))
        self.canonical = "".join(parts)
        self._open: tuple[int, Sequence[int], Sequence[int]] = (-1, (), ())

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Where the characters `first` to `last` (exclusive) of the canonical form are written: start and end."""
        return self._place(first)[0], self._place(last - 1)[1]

    def _place(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._ends, index)
        if self._open[0] != number:
            self._open = (number, *_places(self._blocks[number]))
        _, starts, ends = self._open
        within, before = index - (self._ends[number - 1] if number else 0), self._starts[number]
        return before + starts[within], before + ends[within]


def _places(block: str) -> tuple[Sequence[int], Sequence[int]]:
    """Start and end, in `block`, of each character of its canonical form."""
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    for match in _CHANGED.finditer(block):
        first, last = match.span()
        size = len(_of_piece(match[0]))
        starts += range(done, first)
        starts += [first] * size
        ends += range(done + 1, first + 1)
        ends += [last] * size
        done = last
    starts += range(done, len(block))
    ends += range(done + 1, len(block) + 1)
    return starts, ends


@lru_cache(2**12)
def _of_piece(piece: str) -> str:
    """The canonical form of one escape or character."""
    return canonical(piece)


def _unescaped(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind is None:  # a tag
        return ""
    return "/" if kind == "itself" else chr(int(match[kind], 10 if kind == "decimal" else 16))
