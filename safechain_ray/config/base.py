"""What every part of a config is: frozen, without keys that nobody reads, refused with its key."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails

from safechain_ray.errors import InputError
from safechain_ray.schema import StrictNumbers

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


LONGEST_QUOTE = 30


def refuse_repeats(**listed: Sequence[str]) -> None:
    for key, names in listed.items():
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"{key} names {', '.join(sorted(repeated))} more than once")


Step = str | int
LineOf = Callable[[tuple[Step, ...]], int | None]
"""The line of the config file that holds a key's value; None for a value from elsewhere."""


def validated(
    model: type[AnyModel], tree: Mapping[str, Any], origin: str, line_of: LineOf = lambda key: None
) -> AnyModel:
    """The config that `tree` makes. Raises InputError with each wrong key, and its line where `line_of` knows it."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = []
        for problem in _root_causes(error):
            line = line_of(problem["loc"])
            where = "" if line is None else f" (line {line})"
            key = ".".join(str(step) for step in problem["loc"]) or "config"
            problems.append(f"  {key}: {_plain(problem)}{where}")
        # Not `from error`: its text quotes the values, and a value may be a secret.
        raise InputError(f"{origin}: wrong config\n" + "\n".join(problems)) from None


def _root_causes(error: ValidationError) -> list[ErrorDetails]:
    """The errors without those that follow from another one: a list of invalid items is also reported as too short."""
    found = error.errors()
    wrong = {problem["loc"][:length] for problem in found for length in range(1, len(problem["loc"]))}
    return [problem for problem in found if not (problem["type"] == "too_short" and problem["loc"] in wrong)]


def _plain(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "extra_forbidden":
        return "is no key of the config"
    if problem["type"] == "value_error":
        return message
    if problem["type"] == "string_pattern_mismatch" or any("key" in str(step) for step in problem["loc"][-1:]):
        return f"{message} (the value is not shown: it may hold a secret)"
    return f"{message} (found {_quotable(problem['input'])})"


def _quotable(value: Any) -> str:
    """A wrong value as an error may show it: a short text or a number. Longer ones and mappings may hold secrets."""
    if isinstance(value, str | int | float | None) and len(repr(value)) <= LONGEST_QUOTE and "://" not in str(value):
        return repr(value)
    return f"a {type(value).__name__}"
