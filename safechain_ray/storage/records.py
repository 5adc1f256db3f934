"""Stored JSON records (run.json, sweep.json, finetune.json): their base classes, and validated reads.

Errors name the file and the key. Records may be damaged by a crash or an editor. They are parsed by pydantic's
reader: Python's `json` raises RecursionError for deep nesting and accepts NaN as a number."""

import json
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PrivateAttr,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)
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


MOST_ROWS = 10**12
"""More rows than a run can have: a count beyond it is damage."""

Count = Annotated[StrictInt, Field(ge=0, le=MOST_ROWS)]

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _parse(moment: object) -> object:
    return moment if isinstance(moment, datetime) else datetime.fromisoformat(_text(moment))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _check_zone(moment: datetime) -> datetime:
    """Raises ValueError for a time without its zone: two times could not be compared."""
    if moment.tzinfo is None:
        raise ValueError("the time has no time zone")
    return moment


Moment = Annotated[
    datetime, BeforeValidator(_parse), AfterValidator(_check_zone), PlainSerializer(lambda moment: moment.isoformat())
]


def now() -> datetime:
    """The time for a record, in UTC and whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


class Stored(BaseModel):
    """A record or a part of one: frozen, and with the keys of other versions."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def to_json(self) -> str:
        """The text of the file: the keys that were read or set, and no others."""
        return json.dumps(self.model_dump(by_alias=True, exclude_unset=True), indent=2, default=str) + "\n"


class Identified(Stored):
    """A record whose file belongs to one identity: another one is refused in its folder."""

    identity: dict[str, Any]


class StoredTree(Stored):
    """A part that is compared with the part of another run, so that its JSON tree stays as it was read."""

    _tree: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _with_tree(cls, tree: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        read = validate(tree)
        if isinstance(tree, dict):
            read._tree = tree
        return read

    @model_serializer
    def _to_tree(self) -> dict[str, Any]:
        return self._tree

    @property
    def tree(self) -> dict[str, Any]:
        return self._tree
