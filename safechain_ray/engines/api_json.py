"""Typed access to JSON from providers, and replacement of invalid Unicode."""

import json
import math
from collections.abc import Mapping
from typing import Any

from safechain_ray.schema import LARGEST_INT32


def decode_json(text: bytes) -> Any:
    """The value in `text`, without halves of surrogate pairs. Raises ValueError for anything that is no JSON.

    JSON can escape half of a surrogate pair, which UTF-8 and Arrow cannot store: one such answer would fail its block.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    # Only an escape, or bytes from 0xED on, can make a surrogate. A whole answer is walked only where one may be.
    return _well_formed(value) if b"\\u" in text or b"\xed" in text else value


def well_formed(text: str) -> str:
    """`text` with each half of a surrogate pair replaced by U+FFFD; whole pairs become their character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


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
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= LARGEST_INT32 else None


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_well_formed(each) for each in value]
    if isinstance(value, dict):
        return {well_formed(key): _well_formed(each) for key, each in value.items()}
    return value
