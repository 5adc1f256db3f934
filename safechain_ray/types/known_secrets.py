"""Redacts known secrets from untrusted text: a server may quote the keys and passwords that it received.

A server may quote a secret as it is, escaped (JSON, URL, HTML), as base64 or hex, or in pieces. Replacing the plain
text alone left these in samples, reports and logs.

Guarantees, for secrets of at least `LONG` characters:

1. Case is ignored. Escapes of single characters are read: `\\u002d`, `\\x2d`, `\\/`, `%2D`, `&#45;`, `&#x2d;`.
2. Base64 (both alphabets) and hex are found, also where the secret is a part of what was encoded.
3. Blanks, zero-width characters and thinking tags inside a secret don't hide it. They are kept.
4. In a text, a piece of a secret is found where it has at least `2 * LONG` characters. In bytes only whole secrets are
   redacted: the texts of a body are joined later, and a secret that lost a piece could not be detected then.
5. Every text takes linear time, because an event loop waits for it: 9 MiB with a quoted key take about 0.2 s.

Trade-offs:

1. A shorter secret (`EMPTY`, say) may be an ordinary word, so it is removed from messages only, as it is.
2. A text with more than `MOST_FOUND` secrets or pieces is no answer. It is replaced as a whole, which bounds its time.

Scope: a server that disguises a secret in another way (reversed, spelled, in short pieces) is not detected.

Secrets are searched in the canonical form of a text: without case, escapes, blanks and tags. `CanonicalText` maps a
match back to the original text. Every repetition in a pattern is bounded, and single characters are examined only in
the block of the match. Otherwise one answer of 10 MB would delay all requests of its process.
"""

import base64
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import accumulate, islice
from urllib.parse import unquote

from safechain_ray.likely_keys import MARK

LONG = 12
"""Length of the shortest secret that is not in a text by chance."""

PUBLIC = 8
"""Length of the prefix that names a key's provider (`sk-proj-`). An answer may contain it legitimately."""

MOST_FOUND = 1000
"""Matches in one text. A text with more is replaced as a whole."""

_ESCAPE = re.compile(
    r"\\\\{0,7}+(?:(?:u\{?00|x)(?P<backslash>[0-9a-fA-F]{2})\}?|(?P<itself>/))"
    r"|%(?:25){0,3}(?P<percent>[0-9a-fA-F]{2})"
    r"|&(?:amp;){0,3}#(?:[xX]0{0,6}(?P<hex>[0-9a-fA-F]{2})|0{0,6}(?P<decimal>[0-9]{2,3}));"
    r"|</?(?:think(?:ing)?|thought|reasoning|answer|\|(?:begin|end)_of_(?:thought|solution)\|)>"
    r"|\x1b(?:\[[0-?]{0,32}[ -/]{0,8}[@-~]|[\]PX^_][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[ -/]{0,8}[0-~])"
    r"|\x9b[0-?]{0,32}[ -/]{0,8}[@-~]"
)
"""One escaped ASCII character, a tag, or an ANSI sequence, which a terminal does not show. Each alternative starts
with a literal character, because `re` finds those fast."""

_ESCAPE_ALONE = re.sub(r"\?P<\w+>", "?:", _ESCAPE.pattern)
"""Without groups: `re` of Python 3.11 loses count of groups in a possessive repetition."""

_BLOCK = re.compile(rf"(?:[^\\%&<\x1b\x9b]{{1,32}}+|{_ESCAPE_ALONE}|.){{1,32}}+", re.DOTALL)
"""At most 1024 characters that end outside of an escape: runs without escapes, escapes, and other characters."""

_CHANGED = re.compile(rf"{_ESCAPE_ALONE}|[^!-~]")
"""Text that may have more or fewer than one character in canonical form. The rest is ASCII without blanks."""

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
"""Characters without a width: a secret with such characters inside looks unchanged."""


@dataclass(frozen=True, slots=True)
class KnownSecrets:
    """Redacts a set of secrets from texts, bytes and messages.

    Example:
        >>> KnownSecrets.of("sk-secret-4711").removed_from("key: sk%2Dsecret%2D4711")
        'key: ***'
    """

    long: tuple[str, ...] = field(default=(), repr=False)
    short: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, *secrets: str) -> "KnownSecrets":
        """From secrets in plain text or percent-encoded (the password of a URL)."""
        whole = sorted(
            {form for secret in secrets for form in (secret, unquote(secret)) if form.strip()}, key=len, reverse=True
        )
        long = [secret for secret in whole if len(canonical(secret)) >= LONG]
        forms = dict.fromkeys(form for secret in long for form in _forms(secret))
        return cls(tuple(forms), tuple(secret for secret in whole if secret not in long))

    def removed_from(self, text: str) -> str:
        """`text` without the long secrets and pieces of them."""
        return _blotted(text, self.long, 2 * LONG)

    def removed_from_bytes(self, body: bytes) -> bytes:
        """`body` without the long secrets, in any encoding that has ASCII's characters (UTF-16 too)."""
        text = body.decode("latin-1")
        cleaned = _blotted(text, self.long, None)
        return body if cleaned is text else cleaned.encode("latin-1")

    def removed_from_message(self, text: str) -> str:
        """`text` without the long and the short secrets."""
        text = self.removed_from(text)
        for secret in self.short:
            text = text.replace(secret, MARK)
        return text


def canonical(text: str) -> str:
    """`text` without case, escapes, blanks and tags."""
    plain = "".join(_ESCAPE.sub(_unescaped, text).split())
    return (plain if plain.isascii() and plain.isprintable() else _NO_WIDTH.sub("", plain)).casefold()


def without_canonical(text: str) -> str:
    """The blanks, tags and characters of no width in `text`, which its canonical form lacks."""
    return "".join(match[0] for match in _CHANGED.finditer(text) if not _of_piece(match[0]))


class CanonicalText:
    """The canonical form of a text, with the position of each character in the original text.

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
        """Start and end in the original text of the canonical characters `first` to `last` (exclusive)."""
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


def _forms(secret: str) -> Iterator[str]:
    """The encodings of a secret that are searched, in canonical form."""
    raw = secret.encode()
    plain = (secret, raw.decode("latin-1"), raw.hex(), *_as_base64(raw))
    yield from map(canonical, plain)


def _as_base64(raw: bytes) -> Iterator[str]:
    """The base64 characters that depend on `raw` alone, for each alignment of `raw` in the encoded data."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        whole = encoded[offset + (offset > 0) : (offset + len(raw)) * 8 // 6]
        yield whole
        yield whole.translate({ord("+"): "-", ord("/"): "_"})


def _blotted(text: str, forms: Sequence[str], shortest: int | None) -> str:
    """`text` with each form replaced by a mark, and each piece of a form of `shortest` characters (None: no pieces)."""
    if not forms:
        return text
    written = CanonicalText(text)
    occurrences = _whole if shortest is None else partial(_pieces, shortest=shortest)
    spans = (span for form in forms for span in occurrences(written.canonical, form))
    found = _merged(islice(spans, MOST_FOUND))
    if not found:
        return text
    if next(spans, None) is not None:
        return MARK
    kept: list[str] = []
    done = 0
    for first, last in found:
        start, end = written.span(first, last)
        kept += (text[done:start], MARK, without_canonical(text[start:end]))
        done = end
    return "".join((*kept, text[done:]))


def _whole(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Start and end of each occurrence of `form`."""
    found = text.find(form)
    while found >= 0:
        yield found, found + len(form)
        found = text.find(form, found + len(form))


def _pieces(text: str, form: str, shortest: int) -> Iterator[tuple[int, int]]:
    """Start and end of each piece of `form` of at least `shortest` characters, extended from a seed both ways."""
    least = min(len(form), shortest)
    examined: dict[int, int] = {}  # start of the whole form -> end of its last piece
    for place in sorted(_seeds(form)):
        seed, head, rest = form[place : place + LONG], form[:place][::-1], form[place + LONG :]
        found = text.find(seed)
        while found >= 0:
            if examined.get(found - place, -1) < found + LONG:
                before = _alike(head, text[max(0, found - place) : found][::-1])
                after = _alike(rest, text[found + LONG : found + LONG + len(rest)])
                if before + LONG + after >= least:
                    yield found - before, found + LONG + after
                examined[found - place] = found + LONG + after
            found = text.find(seed, found + LONG)


def _seeds(form: str) -> Iterable[int]:
    """Offsets of seeds of `LONG` characters. Every piece of `2 * LONG` characters contains one."""
    end = len(form) - LONG
    return {*range(min(PUBLIC, end), end, LONG), end}


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, with overlapping spans merged."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _alike(one: str, other: str) -> int:
    """Length of the common prefix, by binary search."""
    if one[:1] != other[:1]:
        return 0
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
