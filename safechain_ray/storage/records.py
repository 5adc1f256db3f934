"""Validated reads of JSON records; errors name the file and the key.

Records may be damaged by a crash or an editor. They are parsed by pydantic's reader: Python's `json` raises
RecursionError for deep nesting and accepts NaN as a number.
"""

from math import isfinite
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from safechain_ray.errors import InputError
from safechain_ray.storage.folder import Folder
from safechain_ray.types.strict_numbers import plain_words

T = TypeVar("T")

LARGEST = 2**63
"""Bound of the integers in a record. A larger one is damage and does not fit into a table's 64 bits."""

KEY_CHARACTERS, REASON_CHARACTERS = 80, 200


def parse_json(data: bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: no JSON, nesting deeper than 200 levels, NaN, infinity, or an integer beyond 64 bits.
    """
    tree = from_json(data, allow_inf_nan=False)
    _check_numbers(tree)
    return tree


def read_record(folder: Folder, name: str, kind: type[T], what: str, fix: str = "") -> T:
    """Read the record `name` of `folder` as a value of type `kind`.

    `what` names the expected record in messages ("record of a run"); `fix` ends the messages.

    Raises:
        InputError: the file is no JSON, or no record of this kind.
        StorageError: the file can't be read.
    """
    _, record = _tree_and_record(folder, name, kind, what, fix)
    return record


def read_checked_tree(folder: Folder, name: str, kind: type[Any], what: str, fix: str = "") -> dict[str, Any]:
    """Read the same record as its JSON tree, including keys unknown to `kind`. For records that are rewritten.

    Raises what `read_record` raises.
    """
    tree, _ = _tree_and_record(folder, name, kind, what, fix)
    return dict(tree)


def _tree_and_record(folder: Folder, name: str, kind: type[T], what: str, fix: str) -> tuple[Any, T]:
    data = folder.read_bytes(name)
    try:
        tree = parse_json(data)
    except ValueError as error:
        raise InputError(f"{folder}/{name} is no valid JSON ({error}).{_then(fix)}") from error
    try:
        return tree, TypeAdapter(kind).validate_python(tree)
    except ValueError as error:
        raise InputError(f"{folder}/{name} is no {what}: {reason_of(error)}.{_then(fix)}") from error


def reason_of(error: ValueError) -> str:
    """The first validation error with its key: `tries.0.status: must be text`."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"]))[:KEY_CHARACTERS]
    message = plain_words(first).splitlines()[0].rstrip(".")[:REASON_CHARACTERS]
    return f"{key}: {message}" if key else message


def _check_numbers(tree: Any) -> None:
    if isinstance(tree, float) and not isfinite(tree):
        raise ValueError("a number in it is too large")
    if isinstance(tree, int) and abs(tree) >= LARGEST:
        raise ValueError("an integer in it has more than 64 bits")
    if isinstance(tree, dict | list):
        for each in tree.values() if isinstance(tree, dict) else tree:
            _check_numbers(each)


def _then(fix: str) -> str:
    return f" Fix: {fix}" if fix else ""
