"""The score of a judge that answers with one of a few words: what share each of them has at the deciding token."""

import math
from collections.abc import Iterable, Mapping, Sequence

PUNCTUATION = " \t\r\n.,;:!?()[]{}<>*_#`\"'-–—"
"""Characters around the word of an answer that have no meaning."""


def plain_word(text: str) -> str:
    """`text` in lower case without blanks and punctuation at its ends: `Unsafe.` and `unsafe` are the same answer."""
    return text.strip(PUNCTUATION).lower()


def word_share(logprobs: Sequence[Mapping[str, float]], word: str, other: str) -> float | None:
    """P(word) / (P(word) + P(other)) as `word_shares` has it."""
    shares = word_shares(logprobs, (word, other))
    return None if shares is None else shares[word]


def word_shares(logprobs: Sequence[Mapping[str, float]], words: Sequence[str]) -> dict[str, float] | None:
    """Each word's share of the probability of all `words` at the first token that is not blank; None without any.

    `logprobs` are those of a `Completion`. Most tokenizers have one token for each word. Where the deciding token is
    only a word's beginning (`un`, `safe`), every beginning of a word counts for that word; no two words may share one.
    If it is neither, but its `plain_word` is (`Unsafe`, `(A`), all tokens and words are compared by `plain_word`.
    """
    deciding = next((table for table in logprobs if table and next(iter(table)).strip()), None)
    if deciding is None:
        return None
    tokens = [(token.strip(), log) for token, log in deciding.items()]
    names = {word: word for word in words}
    if not any(word.startswith(tokens[0][0]) for word in words):
        plain = [(plain_word(token), log) for token, log in tokens]
        if plain[0][0] and any(plain_word(word).startswith(plain[0][0]) for word in words):
            tokens, names = plain, {word: plain_word(word) for word in words}
    whole = tokens[0][0] in names.values()
    logs = {word: _log_mass(tokens, name, whole) for word, name in names.items()}
    most = max(logs.values())
    if most == -math.inf:
        return None
    masses = {word: math.exp(log - most) for word, log in logs.items()}
    total = sum(masses.values())
    return {word: mass / total for word, mass in masses.items()}


def _log_mass(tokens: Iterable[tuple[str, float]], word: str, whole: bool) -> float:
    """The log of the summed probability of the tokens that are `word`, or with `whole` False begin it."""
    logs = [
        log
        for token, log in tokens
        if math.isfinite(log) and (token == word or (not whole and token and word.startswith(token)))
    ]
    if not logs:
        return -math.inf
    most = max(logs)
    return most + math.log(sum(math.exp(log - most) for log in logs))
