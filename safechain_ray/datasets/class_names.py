"""The names of ClassLabel columns, which the `datasets` library stores as numbers.

The number alone has no meaning: 0 is `unsafe` in one set and `safe` in another.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from safechain_ray.datasets.text_files import BrokenFileError

METADATA_KEY = b"huggingface"
"""Key of a Parquet or Arrow schema's metadata that holds the features as JSON: {"info": {"features": {...}}}."""

Names = Mapping[str, tuple[str, ...]]


def names_in_metadata(metadata: Mapping[bytes, bytes] | None) -> Names:
    """The class names of each column that the metadata of an Arrow schema declares as ClassLabel."""
    try:
        stored: Any = json.loads((metadata or {}).get(METADATA_KEY, b"{}"))
        return class_names(stored["info"]["features"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def class_names(features: Mapping[str, Any] | None) -> Names:
    """The class names of each ClassLabel, or list of such, in `features` as `Features.to_dict` gives them."""
    found = {column: _names(feature) for column, feature in (features or {}).items()}
    return {column: names for column, names in found.items() if names}


def with_class_names(rows: Iterable[Mapping[str, object]], names: Names) -> list[Mapping[str, object]]:
    """The rows with class names in the place of class numbers; -1, which means no label, becomes None.

    A number counts in any form that a table library writes: `1`, `1.0` and ` 1` are the class 1.

    Raises:
        BrokenFileError: a value is neither a class name nor a class number.

    Example:
        >>> with_class_names([{"label": 0.0}, {"label": " 1"}], {"label": ("unsafe", "safe")})
        [{'label': 'unsafe'}, {'label': 'safe'}]
    """
    if not names:
        return list(rows)
    known = {column: frozenset(each) for column, each in names.items()}
    return [
        {
            column: _named(value, column, names[column], known[column]) if column in names else value
            for column, value in row.items()
        }
        for row in rows
    ]


def _names(feature: Any) -> tuple[str, ...]:
    if isinstance(feature, Sequence) and not isinstance(feature, str) and len(feature) == 1:
        return _names(feature[0])
    if not isinstance(feature, Mapping):
        return ()
    if feature.get("_type") == "ClassLabel":
        return tuple(map(str, feature.get("names") or ()))
    return _names(feature.get("feature")) if feature.get("_type") in ("Sequence", "List", "LargeList") else ()


def _named(value: object, column: str, names: tuple[str, ...], known: Collection[str]) -> object:
    if isinstance(value, list):
        return [_named(each, column, names, known) for each in value]
    if value is None or (isinstance(value, str) and value in known):
        return value
    if value != value:  # NaN is a missing value in a column of floats
        return None
    word = re.sub(r"^([-+]?\d+)\.0*$", r"\1", str(value).strip())
    if not word:
        return None
    if isinstance(value, str) and word in known:
        return word
    number = int(word) if re.fullmatch(r"[-+]?[0-9]{1,9}", word) else len(names)
    if isinstance(value, bool) or number not in range(-1, len(names)):
        raise BrokenFileError(
            f"the column {column!r} holds {str(value)[:40]!r}, which is neither a class number from 0 to "
            f"{len(names) - 1} nor a class name ({', '.join(names[:10])}). Fix: correct the value, or the class names "
            "of the column in the set's features"
        )
    return None if number == -1 else names[number]
