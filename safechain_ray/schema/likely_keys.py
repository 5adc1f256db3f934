"""Hides words that may be keys in messages about the user's own input.

A key can be pasted in a wrong place: `--set sk-...`, `samples: sk-...`, a tag of YAML. An error that quotes the wrong
value would put the key into logs and bug reports. Nothing knows the key here, so its form decides.

Trade-off: a long word with digits that is no key (`2024-01-01T12`) is hidden too.
"""

import re

from safechain_ray.schema.known_secrets import MARK

_WORD = re.compile(r"[\w+/=~-]+")

_KEY = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:(?:sk|pk|rk|gsk|xai|pplx|nvapi)-|(?:hf|gh[pousr]|github_pat|glpat|r8)[_-]|AKIA|ASIA|AIza|xox[a-z]|eyJ)"
    r"|^(?=.*[A-Za-z])(?=.*[0-9]).{12,}$"
)
"""A known prefix of keys, or at least 12 characters that have letters and digits."""


def without_likely_keys(text: str) -> str:
    """`text` with a mark in place of each word that may be a key.

    Example:
        >>> without_likely_keys("model.sk-canary-0123456789")
        'model.***'
    """
    return _WORD.sub(lambda word: MARK if _KEY.search(word[0]) else word[0], text)


def may_hold_key(text: str) -> bool:
    """Whether a word in `text` may be a key."""
    return without_likely_keys(text) != text
