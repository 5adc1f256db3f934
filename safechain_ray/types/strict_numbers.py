"""Base class of configs that validates numbers strictly, and pydantic's errors in plain words.

1. A boolean is refused where a number is expected. Pydantic reads true as 1, so that `samples: true` was K = 1. A
   number in quotes is still accepted.
2. A whole number of more than 64 bits is refused. A seed of 5000 digits was accepted, and then no column and no
   message could show it.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from safechain_ray.types.words import PLAIN_URL

MOST_DEPTH = 4

NOT_INT64 = "must be from -9223372036854775808 to 9223372036854775807 (64 bits)"


class StrictNumbers(BaseModel):
    """Refuses booleans in fields of numbers, lists and mappings included, and whole numbers of more than 64 bits."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        annotation: Any = None if field is None else field.annotation
        if _takes_numbers_alone(annotation) and _holds(value, lambda each: isinstance(each, bool)):
            raise ValueError("a number is expected, not true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _no_number_beyond_64_bits(cls, value: Any) -> Any:
        if _holds(value, lambda each: isinstance(each, int) and not fits_int64(each)):
            raise ValueError(NOT_INT64)
        return value


def fits_int64(number: int) -> bool:
    return -(2**63) <= number < 2**63


@cache
def _takes_numbers_alone(annotation: Any) -> bool:
    kinds = set(_leaves(annotation))
    return bool(kinds & {int, float}) and kinds <= {int, float, str, NoneType}


def _leaves(annotation: Any) -> Iterator[Any]:
    """The scalar types of an annotation, without its containers."""
    if get_origin(annotation) is Literal:
        yield from map(type, get_args(annotation))
    elif get_args(annotation):
        for each in get_args(annotation):
            if each is not Ellipsis:
                yield from _leaves(each)
    else:
        yield annotation


def _holds(value: Any, is_wrong: Callable[[Any], bool], depth: int = 0) -> bool:
    """Search to the depth that a field of numbers can have: a YAML anchor can make a list that contains itself."""
    if depth > MOST_DEPTH or not isinstance(value, dict | list | tuple):
        return is_wrong(value)
    return any(_holds(each, is_wrong, depth + 1) for each in (value.values() if isinstance(value, dict) else value))


WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be above {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be below {lt:g}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": NOT_INT64,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} item(s), not {actual_length}",
    "string_too_short": "must not be empty",
    "dict_type": "must be keys and values",
    "dataclass_type": "must be keys and values",
    "model_type": "must be keys and values",
    "model_attributes_type": "must be keys and values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}
"""Messages by pydantic's error type. The placeholders are keys of the error's context."""


def plain_words(problem: ErrorDetails) -> str:
    """The constraint that a value broke, without the value itself: `must be at least 1`."""
    if problem.get("ctx", {}).get("pattern") == PLAIN_URL:
        return "must be http(s)://host/path without user, password, query or fragment"
    words = WORDS.get(problem["type"])
    if words is None:
        return problem["msg"].removeprefix("Value error, ")
    return words.format(**problem.get("ctx", {}))
