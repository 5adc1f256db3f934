"""The score of a judge that answers with one of two words: the share of one of them at the deciding token."""

import math
from collections.abc import Mapping, Sequence


def word_share(logprobs: Sequence[Mapping[str, float]], word: str, other: str) -> float | None:
    """P(word) / (P(word) + P(other)) at the first token that is not blank; None where neither is listed there.

    `logprobs` are those of a `Completion`. Most tokenizers have one token for each word. Where the deciding token is
    only a word's beginning (`un`, `safe`), every beginning of a word stands for it: no beginning may be one of both.
    """
    deciding = next((table for table in logprobs if table and next(iter(table)).strip()), None)
    if deciding is None:
        return None
    whole = next(iter(deciding)).strip() in (word, other)
    of_word = _log_mass(deciding, word, whole)
    of_other = _log_mass(deciding, other, whole)
    most = max(of_word, of_other)
    if most == -math.inf:
        return None
    share = math.exp(of_word - most)
    return share / (math.exp(of_other - most) + share)


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
