"""Strict validation: a base class that refuses odd numbers, errors in plain words, and closed lists of values.

1. A boolean is refused where a number is expected. Pydantic reads true as 1, so that `samples: true` was K = 1. A
   number in quotes is still accepted.
2. A whole number of more than 64 bits is refused. A seed of 5000 digits was accepted, and then no column and no
   message could show it.

The closed lists are parts, outcomes and rules. Patterns of values that users write are here too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

Part = Literal["response", "thought", "answer"]
"""The text that a judge reads: the reasoning trace, the final answer, or both (the default, as in the paper)."""

Outcome = Literal["ok", "truncated", "blocked", "error"]
"""How a sample ended; `blocked`: the provider's content filter refused the request or the response."""

FinishReason = Literal["stop", "length"]

VoteRule = Literal["majority", "any", "all"]
"""How many judges must decide unsafe for the vote to be unsafe: more than half of them, one, or all."""

KeepRule = Literal["all", "majority", "best"]
"""How many of a prompt's K responses must be safe for a training set to keep it: all, more than half, or one."""

SpecialTokens = Literal["control", "text"]
"""How an engine tokenizes a special token inside a prompt: as the control token, or as plain text."""

PLAIN_URL = r"^https?://[^\s@?#]+$"
"""A URL without parts that may be secret: no user, no query, no fragment."""

LARGEST_INT32 = 2**31 - 1
"""Largest value of the int32 columns of the samples."""


def _check_variable_name(name: str) -> str:
    """Raise ValueError without quoting `name`: users put the key itself there by mistake."""
    if name and re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) is None:
        raise ValueError(
            "this is no name of an environment variable (capital letters, digits and _). If it is the key itself, put "
            "it into a variable and write the variable's name here"
        )
    return name


VariableName = Annotated[str, AfterValidator(_check_variable_name)]
"""Name of an environment variable with an API key. A key itself is refused, because it has other characters."""


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
