"""The score of a judge that answers with one of a few words: what share each of them has at the deciding token."""

import math
from collections.abc import Mapping, Sequence


def word_share(logprobs: Sequence[Mapping[str, float]], word: str, other: str) -> float | None:
    """P(word) / (P(word) + P(other)) as `word_shares` has it."""
    shares = word_shares(logprobs, (word, other))
    return None if shares is None else shares[word]


def word_shares(logprobs: Sequence[Mapping[str, float]], words: Sequence[str]) -> dict[str, float] | None:
    """Each word's share of the probability of all `words` at the first token that is not blank; None without any.

    `logprobs` are those of a `Completion`. Most tokenizers have one token for each word. Where the deciding token is
    only a word's beginning (`un`, `safe`), every beginning of a word stands for it: no beginning may be one of two.
    """
    deciding = next((table for table in logprobs if table and next(iter(table)).strip()), None)
    if deciding is None:
        return None
    whole = next(iter(deciding)).strip() in words
    logs = {word: _log_mass(deciding, word, whole) for word in words}
    most = max(logs.values())
    if most == -math.inf:
        return None
    masses = {word: math.exp(log - most) for word, log in logs.items()}
    total = sum(masses.values())
    return {word: mass / total for word, mass in masses.items()}


def _log_mass(table: Mapping[str, float], word: str, whole: bool) -> float:
    """The log of the summed probability of the tokens that are `word`, or with `whole` False begin it."""
    logs = [
        log
        for token, log in table.items()
        if math.isfinite(log)
        and (token.strip() == word or (not whole and token.strip() and word.startswith(token.strip())))
    ]
    if not logs:
        return -math.inf
    most = max(logs)
    return most + math.log(sum(math.exp(log - most) for log in logs))
