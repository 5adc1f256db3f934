"""What every part of a config is: frozen, without keys that nobody reads, refused with its key."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from safechain_ray.errors import InputError

AnyModel = TypeVar("AnyModel", bound=BaseModel)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"{key} names {', '.join(sorted(repeated))} more than once")


def validated(model: type[AnyModel], tree: Mapping[str, Any], origin: str) -> AnyModel:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = [
            f"  {'.'.join(str(step) for step in problem['loc']) or 'config'}: {_plain(problem)}"
            for problem in error.errors()
        ]
        raise InputError(f"{origin}: wrong config\n" + "\n".join(problems)) from error


def _plain(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "extra_forbidden":
        return "is no key of the config"
    if problem["type"] == "value_error":
        return message
    return f"{message} (found {problem['input']!r})"
