"""What every part of a config is: frozen, without keys that nobody reads, refused with its key."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from safechain_ray.config.messages import LineOf, explain
from safechain_ray.errors import InputError
from safechain_ray.types import StrictNumbers

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Config(StrictNumbers):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Named(Config):
    """A part of the config that its name alone is short for: `model: R1-7B` is `model: {name: R1-7B}`."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The short form too."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


def refuse_repeats(**listed: Sequence[str]) -> None:
    for key, names in listed.items():
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise ValueError(f"{key} names {', '.join(sorted(repeated))} more than once")


def validated(
    model: type[AnyModel], tree: Mapping[str, Any], origin: str, line_of: LineOf = lambda key: None
) -> AnyModel:
    """The config that `tree` makes. Raises InputError with each wrong key, and its line where `line_of` knows it."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        # Not `from error`: its text quotes the values, and a value may be a secret.
        raise InputError(f"{origin}: wrong config\n{explain(error, model, line_of)}") from None
