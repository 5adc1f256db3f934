"""JSON records: read once, checked as a whole, refused in one sentence that names the file and the key.

Records lie where others may write, and a crash or an editor may damage them. Python's reader raises RecursionError for
deep nesting and takes NaN for a number, so records are not read with it.
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
"""Integers of records fit into 64 bits: a larger one is damage, and would be an error in every table."""

KEY_CHARACTERS, REASON_CHARACTERS = 80, 200


def parse_json(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: no JSON, nesting deeper than 200 levels, NaN, infinity, or an integer beyond 64 bits.
    """
    tree = from_json(data, allow_inf_nan=False)
    _check_numbers(tree)
    return tree


def read_record(folder: Folder, name: str, kind: type[T], what: str, fix: str = "") -> T:
    """The record `name` of `folder` as a value of `kind`; `what` says what it should be ("record of a run").

    Raises:
        InputError: the file is no JSON, or no record of this kind; `fix` ends the message.
        StorageError: the file can't be read.
    """
    _, record = _tree_and_record(folder, name, kind, what, fix)
    return record


def read_checked_tree(folder: Folder, name: str, kind: type[Any], what: str, fix: str = "") -> dict[str, Any]:
    """The same record as the JSON tree that it is, with keys that `kind` does not know: for records that are rewritten.

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
    """The first thing that is wrong, with its key: `tries.0.status: must be text`."""
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
