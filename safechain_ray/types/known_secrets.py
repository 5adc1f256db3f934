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
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from urllib.parse import unquote

from safechain_ray.likely_keys import MARK
from safechain_ray.types.canonical_text import CanonicalText, canonical, without_canonical

LONG = 12
"""Shortest secret that a text can't hold by chance."""

PUBLIC = 8
"""Characters at the start of a key that name its provider (`sk-proj-`), which an answer may do too."""

MOST_FOUND = 1000


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


def _forms(secret: str) -> Iterator[str]:
    """How a secret may be written, in canonical form."""
    raw = secret.encode()
    plain = (secret, raw.decode("latin-1"), raw.hex(), *_as_base64(raw))
    yield from map(canonical, plain)


def _as_base64(raw: bytes) -> Iterator[str]:
    """The characters of base64 that depend on `raw` alone, for each place where it may begin in what is encoded."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        whole = encoded[offset + (offset > 0) : (offset + len(raw)) * 8 // 6]
        yield whole
        yield whole.translate({ord("+"): "-", ord("/"): "_"})


def _blotted(text: str, forms: Sequence[str], shortest: int | None) -> str:
    """`text` with a mark in place of each of `forms`, and of their pieces of `shortest` characters; None: no pieces."""
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
    """Start and end of each piece of `form` of at least `shortest` characters, grown from a seed in both directions."""
    least = min(len(form), shortest)
    examined: dict[int, int] = {}  # by the place where the whole form would begin: the end of its last piece
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


def _alike(one: str, other: str) -> int:
    """How many characters both have in common at their beginning."""
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
