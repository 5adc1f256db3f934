"""Typed access to JSON from providers."""

import json
from collections.abc import Mapping
from typing import Any

from safechain_ray.types import LARGEST_INT32
from safechain_ray.types.unicode_text import well_formed_tree


def decode_json(text: bytes) -> Any:
    """The value in `text`, without halves of surrogate pairs. Raises ValueError for anything that is no JSON.

    JSON can escape half of a surrogate pair, which UTF-8 and Arrow cannot store: one such answer would fail its block.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    # In UTF-8, only an escape or a byte 0xED can make a surrogate. NUL bytes show that the text is UTF-16 or UTF-32.
    may_hold_surrogates = b"\\u" in text or b"\xed" in text or b"\0" in text
    return well_formed_tree(value) if may_hold_surrogates else value


def as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int | None:
    """A count of tokens, also as a float or in digits; None for anything else, and for more than a column can hold."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Not by math.isfinite: a JSON integer may be too large for a float. NaN fails every comparison.
    return int(value) if 0 <= value <= LARGEST_INT32 else None
