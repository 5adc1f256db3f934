"""Base classes of configs: frozen, unknown keys refused, errors with key and line."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from safechain_ray.errors import InputError
from safechain_ray.types import StrictNumbers
from safechain_ray.types.model_errors import AnyModel, LineOf, explain, no_line


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


FLAGS: Mapping[str, str] = {
    "model": "--model",
    "datasets": "--dataset",
    "judges": "--judge",
    "judge": "--judge",
    "benchmarks": "--benchmark",
    "data": "--data",
    "prompts": "--prompts",
    "training_set": "--training-set",
    "output": "--output",
}
"""The flags of required keys, for messages."""


def refuse_repeats(**listed: Sequence[str]) -> None:
    for key, names in listed.items():
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise ValueError(f"{key} names {', '.join(sorted(repeated))} more than once")


ARGUMENTS = "arguments"
"""Origin of a config whose keys are the arguments of a function: its messages name no flags."""


def validated(model: type[AnyModel], tree: Mapping[str, Any], origin: str, line_of: LineOf = no_line) -> AnyModel:
    """The tree as a config. Raises InputError with each wrong key, and its line where `line_of` knows the line."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        # Not `from error`: the text of pydantic's error quotes values, which may be secrets.
        lines = explain(error, model, line_of, flags={} if origin == ARGUMENTS else FLAGS)
        raise InputError(f"{origin}: wrong config. Fix: correct each key below.\n{lines}") from None
