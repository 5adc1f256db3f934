"""The names of ClassLabel columns, which the `datasets` library stores as numbers.

The number alone has no meaning: 0 is `unsafe` in one set and `safe` in another.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    """The rows with class names in the place of class numbers; -1, which means no label, becomes None."""
    if not names:
        return list(rows)
    return [
        {column: _named(value, names[column]) if column in names else value for column, value in row.items()}
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


def _named(value: object, names: tuple[str, ...]) -> object:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    number = int(value) if isinstance(value, str) and value.isdecimal() and value not in names else value
    if number == -1:
        return None
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else value
