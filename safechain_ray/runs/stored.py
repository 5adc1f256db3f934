"""Base classes and field types of stored records: run.json, sweep.json, finetune.json."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Self

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
    model_serializer,
    model_validator,
)

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
