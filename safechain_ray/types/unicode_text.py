"""Replaces halves of surrogate pairs, which UTF-8 and Arrow can't store: one such text would fail its block."""

from typing import Any


def well_formed(text: str) -> str:
    """`text` with each half of a surrogate pair replaced by U+FFFD; whole pairs become their character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def well_formed_tree(value: Any) -> Any:
    """`value` with all its texts well-formed, in lists, tuples and mappings (keys too)."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list | tuple):
        return [well_formed_tree(each) for each in value]
    if isinstance(value, dict):
        return {well_formed_tree(key): well_formed_tree(each) for key, each in value.items()}
    return value
