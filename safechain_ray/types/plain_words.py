"""Errors of pydantic in plain words: what a value must be."""

from collections.abc import Mapping

from pydantic_core import ErrorDetails

from safechain_ray.types.strict_numbers import NOT_INT64
from safechain_ray.types.words import PLAIN_URL

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
"""By pydantic's type of an error; the fields are those of its context."""


def plain_words(problem: ErrorDetails) -> str:
    """What a value must be, without the value that was found: `must be at least 1`."""
    if problem.get("ctx", {}).get("pattern") == PLAIN_URL:
        return "must be http(s)://host/path without user, password, query or fragment"
    words = WORDS.get(problem["type"])
    if words is None:
        return problem["msg"].removeprefix("Value error, ")
    return words.format(**problem.get("ctx", {}))
