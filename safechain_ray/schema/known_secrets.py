"""Redacts known secrets from untrusted text: a server may quote the keys and passwords that it received.

A server may quote a secret as it is, escaped (JSON, URL, HTML), as base64 or hex, or in pieces. Replacing the plain
text alone left these in samples, reports and logs.

Guarantees, for secrets of at least `LONG` characters:

1. Case is ignored. Escapes of single characters are read: `\\u002d`, `\\x2d`, `\\/`, `%2D`, `&#45;`, `&#x2d;`.
2. Base64 (both alphabets) and hex are found, also where the secret is a part of what was encoded.
3. Blanks, zero-width characters and thinking tags inside a secret don't hide it. They are kept.
4. In a text, a piece of a secret is found where it has at least `2 * LONG` characters. In bytes only whole secrets are
   redacted: the texts of a body are joined later, and a secret that lost a piece could not be detected then.

Trade-off: a shorter secret (`EMPTY`, say) may be an ordinary word, so it is removed from messages only, as it is.
Scope: a server that disguises a secret in another way (reversed, spelled, in short pieces) is not detected.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from urllib.parse import unquote

LONG = 12
"""Shortest secret that a text can't hold by chance."""

PUBLIC = 8
"""Characters at the start of a key that name its provider (`sk-proj-`), which an answer may do too."""

MARK = "***"

_ESCAPE = re.compile(
    r"\\{1,8}(?:(?:u\{?00|x)(?P<backslash>[0-9a-fA-F]{2})\}?|(?P<itself>/))"
    r"|%(?:25){0,3}(?P<percent>[0-9a-fA-F]{2})"
    r"|&(?:amp;){0,3}#(?:[xX]0{0,6}(?P<hex>[0-9a-fA-F]{2})|0{0,6}(?P<decimal>[0-9]{2,3}));"
    r"|</?(?:think(?:ing)?|thought|reasoning|answer|\|(?:begin|end)_of_(?:thought|solution)\|)>"
)
"""One escaped ASCII character, or a tag. Every repetition is bounded: a hostile text takes linear time."""

_TOKEN = re.compile(rf"{_ESCAPE.pattern}|.", re.DOTALL)

_NO_WIDTH = re.compile("[\u0000\u007f\u00ad\u200b-\u200f\u2060\ufeff]")
"""NUL (every second byte of UTF-16) and characters of no width."""


@dataclass(frozen=True, slots=True)
class KnownSecrets:
    """Secrets to remove.

    Example:
        >>> KnownSecrets.of("sk-secret-4711").removed_from("key: sk%2Dsecret%2D4711")
        'key: ***'
    """

    long: tuple[str, ...] = field(default=(), repr=False)
    short: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, *secrets: str) -> "KnownSecrets":
        """From secrets as they are, or percent-encoded (the password of a URL)."""
        whole = sorted(
            {form for secret in secrets for form in (secret, unquote(secret)) if form.strip()}, key=len, reverse=True
        )
        long = [secret for secret in whole if len(_canonical(secret)) >= LONG]
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


def _forms(secret: str) -> Iterator[str]:
    """How a secret may be written, in canonical form."""
    raw = secret.encode()
    plain = (secret, raw.decode("latin-1"), raw.hex(), *_as_base64(raw))
    yield from map(_canonical, plain)


def _as_base64(raw: bytes) -> Iterator[str]:
    """The characters of base64 that depend on `raw` alone, for each place where it may begin in what is encoded."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        whole = encoded[offset + (offset > 0) : (offset + len(raw)) * 8 // 6]
        yield whole
        yield whole.translate({ord("+"): "-", ord("/"): "_"})


def _canonical(text: str) -> str:
    """`text` without case, escapes, blanks and tags."""
    plain = "".join(_ESCAPE.sub(_unescaped, text).split())
    return (plain if plain.isascii() and plain.isprintable() else _NO_WIDTH.sub("", plain)).casefold()


def _unescaped(match: re.Match[str]) -> str:
    digits = match["backslash"] or match["percent"] or match["hex"]
    if digits:
        return chr(int(digits, 16))
    return chr(int(match["decimal"])) if match["decimal"] else match["itself"] or ""


def _blotted(text: str, forms: Iterable[str], shortest: int | None) -> str:
    """`text` with a mark in place of each of `forms`, and of their pieces of `shortest` characters; None: no pieces."""
    canonical = _canonical(text)
    found = _merged(_occurrences(canonical, forms, shortest))
    if not found:
        return text
    tokens = [match[0] for match in _TOKEN.finditer(text)]
    owners = [place for place, token in enumerate(tokens) for _ in _canonical(token)]
    for first, last in found:
        head, *others = dict.fromkeys(owners[first:last])
        tokens[head] = MARK
        for place in others:
            tokens[place] = ""
    return "".join(tokens)


def _occurrences(canonical: str, forms: Iterable[str], shortest: int | None) -> Iterator[tuple[int, int]]:
    """Start and end of each of `forms`, and of their pieces, which grow from a seed in both directions."""
    for form in forms:
        least = len(form) if shortest is None else min(len(form), shortest)
        for place in _seeds(form):
            seed = form[place : place + LONG]
            found = canonical.find(seed)
            while found >= 0:
                before = _alike(reversed(form[:place]), reversed(canonical[max(0, found - place) : found]))
                rest = form[place + LONG :]
                after = _alike(rest, canonical[found + LONG : found + LONG + len(rest)])
                if before + LONG + after >= least:
                    yield found - before, found + LONG + after
                found = canonical.find(seed, found + LONG)


def _seeds(form: str) -> Iterable[int]:
    """Where the pieces of `LONG` characters begin by which `form` is found, or any piece of `2 * LONG`."""
    end = len(form) - LONG
    return {*range(min(PUBLIC, end), end, LONG), end}


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _alike(one: Iterable[str], other: Iterable[str]) -> int:
    """How many characters both have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
