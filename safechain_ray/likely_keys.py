"""Redaction of words that may be API keys, in messages about the user's own input.

A key can be pasted in a wrong place: `--set sk-...`, `samples: sk-...`, a tag of YAML. An error that quotes the wrong
value would put the key into logs and bug reports. The key itself is not known here, so its form decides.

Known trade-off: a long word with digits that is no key (`2024-01-01T12`) is redacted too.

Imports only the standard library: errors.py imports this module, and programs in the sandbox import errors.py.
"""

import re
from typing import Any, TypeVar

MARK = "***"
"""Replaces a secret in messages."""

T = TypeVar("T")

_WORD = re.compile(r"[\w+/=~-]+")

_PREFIX = (
    r"(?:^|[^A-Za-z0-9])(?:(?:sk|pk|rk|gsk|xai|pplx|nvapi)-"
    r"|(?:hf|gh[pousr]|github_pat|glpat|r8)[_-]|AKIA|ASIA|AIza|xox[a-z]|eyJ)"
)
_PREFIXED = re.compile(_PREFIX)

_KEY = re.compile(_PREFIX + r"|^(?=.*[A-Za-z])(?=.*[0-9]).{12,}$")
"""A known prefix of keys, or at least 12 characters with letters and digits."""

_KEY_FOR_NAME = re.compile(_PREFIX + r"|(?:^|[^A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{20}")
"""A known prefix of keys, or 20 letters and digits in a row. Names of models have digits too, but with hyphens."""

LONGEST = 200
"""Characters of a name or of a config key that a message shows."""


def name_for_message(name: str) -> str:
    """A user's name for a model, data set or key, as shown in messages: likely keys redacted, and truncated.

    Example:
        >>> name_for_message("DeepSeek-R1-Distill-Llama-8B"), name_for_message("sk-canary-0123456789")
        ('DeepSeek-R1-Distill-Llama-8B', '***')
    """
    return _cut(_WORD.sub(lambda word: MARK if _KEY_FOR_NAME.search(word[0]) else word[0], name[: 2 * LONGEST]))


def without_likely_keys(text: str) -> str:
    """`text`, truncated to `LONGEST` characters, with each likely key redacted.

    Example:
        >>> without_likely_keys("model.sk-canary-0123456789")
        'model.***'
    """
    # Truncated last: a truncated key may be too short to be recognised.
    return _cut(_WORD.sub(lambda word: MARK if _KEY.search(word[0]) else word[0], text[: 2 * LONGEST]))


def may_hold_key(text: str) -> bool:
    """Whether `text` contains a word that may be a key."""
    return any(_KEY.search(word[0]) for word in _WORD.finditer(text))


def without_prefixed_keys(tree: T) -> T:
    """Return `tree` (mappings and lists) unchanged. For values that are recorded verbatim.

    Unlike a password in a URI, such a text has no form that marks it as a secret, except the known prefixes.

    Raises:
        ValueError: a text starts with a known prefix of API keys.
    """
    todo: list[object] = [tree]
    while todo:
        match todo.pop():
            case dict() as mapping:
                todo += mapping.values()
            case list() | tuple() as items:
                todo += items
            case str() as text if any(_PREFIXED.search(word[0]) for word in _WORD.finditer(text)):
                raise ValueError("a text in it looks like a key, which would be recorded; keys come from api_key_env")
    return tree


def key_fault(key: str, variable: str) -> str | None:
    """An error with its fix where the key in `variable` can't be sent in a header; else None. The key is not quoted.

    Example:
        >>> key_fault("sk-\u2026", "MY_KEY")
        "The key in MY_KEY has the character '…', which no key has. Fix: copy the key again."
    """
    wrong = next((character for character in key if not "!" <= character <= "~"), None)
    if wrong is None:
        return None
    shown = wrong if wrong.isprintable() and wrong != " " else f"U+{ord(wrong):04X}"
    return f"The key in {variable} has the character '{shown}', which no key has. Fix: copy the key again."


def redact_prefixed_keys(tree: Any) -> Any:
    """A copy of `tree` (mappings and lists), in whose texts words with a known prefix of API keys are redacted.

    Example:
        >>> redact_prefixed_keys({"hf_token": "hf_canary0123456789"})
        {'hf_token': '***'}
    """
    match tree:
        case dict():
            return {key: redact_prefixed_keys(value) for key, value in tree.items()}
        case list():
            return [redact_prefixed_keys(value) for value in tree]
        case str():
            return _WORD.sub(lambda word: MARK if _PREFIXED.search(word[0]) else word[0], tree)
    return tree


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
