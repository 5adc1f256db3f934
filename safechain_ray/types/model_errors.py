"""Pydantic's validation errors in plain words, each with its key, its line and the nearest known key."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from safechain_ray.likely_keys import may_hold_key, without_likely_keys
from safechain_ray.types.strict_numbers import plain_words

Step = str | int

LineOf = Callable[[tuple[Step, ...]], int | None]
"""The line of a key's value in its file; None for a value from elsewhere."""

AnyModel = TypeVar("AnyModel", bound=BaseModel)

HUB_ID = r"^[\w.-]+/[\w.-]+$"
"""The name of a repository on the Hugging Face hub."""

CODE = r"^[\w.]+:[\w.]+$"
"""Python code: a module, and a class or function of it."""

PATTERNS: Mapping[str, str] = {HUB_ID: "must be OWNER/NAME", CODE: "must be module:name, a class or function"}
"""Messages for values that do not match a pattern."""

KINDS: Mapping[type, str] = {
    dict: "keys and values",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}
"""Kinds of values that an error does not quote."""

LONGEST_QUOTE = 30
"""Characters of a wrong value that an error shows."""

NO_FLAGS: Mapping[str, str] = MappingProxyType({})


def no_line(key: tuple[Step, ...]) -> int | None:
    """The line of a value that is from no file."""
    return None


def explain(
    error: ValidationError,
    model: type[BaseModel],
    line_of: LineOf = no_line,
    of: str = "the config",
    flags: Mapping[str, str] = NO_FLAGS,
) -> str:
    """A line of text for each problem, with its key if it has one, and the key's line where `line_of` knows it.

    `of` names what has the keys. `flags` are the flags that set them, by key.

    Example:
        >>> try:
        ...     Family.model_validate({"name": "mine", "tag": {}})
        ... except ValidationError as error:
        ...     print(explain(error, Family, of="a family"))
          tag: is no key of a family: did you mean 'tags'?
    """
    return "\n".join(_line(problem, model, line_of, of, flags) for problem in _root_causes(error))


def _line(problem: ErrorDetails, model: type[BaseModel], line_of: LineOf, of: str, flags: Mapping[str, str]) -> str:
    line = line_of(problem["loc"])
    where = "" if line is None else f" (line {line})"
    key = without_likely_keys(".".join(str(step) for step in problem["loc"]))
    return f"  {key}{': ' if key else ''}{_plain(problem, model, of, flags)}{where}"


def _root_causes(error: ValidationError) -> list[ErrorDetails]:
    """The errors without consequences of other errors: a list of invalid items is also reported as too short."""
    found = error.errors()
    wrong = {problem["loc"][:length] for problem in found for length in range(1, len(problem["loc"]))}
    return [problem for problem in found if not (problem["type"] == "too_short" and problem["loc"] in wrong)]


def _plain(problem: ErrorDetails, model: type[BaseModel], of: str, flags: Mapping[str, str]) -> str:
    kind = problem["type"]
    if kind == "missing":
        flag = flags.get(".".join(map(str, problem["loc"])).removesuffix(".name"))
        return f"is missing: give it with {flag}, or in a config file" if flag else "is missing"
    if kind == "extra_forbidden":
        return f"is no key of {of}{_nearest(problem['loc'], model)}"
    words = PATTERNS.get(problem.get("ctx", {}).get("pattern", "")) or plain_words(problem)
    if kind == "value_error":
        return words
    is_kind = problem["loc"][-1:] == ("kind",)  # names code or a reader, and is no secret
    if (kind == "string_pattern_mismatch" and not is_kind) or any("key" in str(step) for step in problem["loc"][-1:]):
        return f"{words} (the value is not shown: it may hold a secret)"
    return f"{words} (found {_quotable(problem['input'])}){_as_list(problem, model)}"


def _quotable(value: Any) -> str:
    """A short text or a number as it is; the type of any other value, which may contain a secret."""
    if isinstance(value, str | int | float | None):
        shown = repr(value)
        if len(shown) <= LONGEST_QUOTE and "://" not in shown and not may_hold_key(shown):
            return shown
    return kind_of(value)


def kind_of(value: Any) -> str:
    return KINDS.get(type(value), f"a {type(value).__name__}")


def _as_list(problem: ErrorDetails, model: type[BaseModel]) -> str:
    """A hint with the list to write, for a single value where its list is expected; otherwise empty."""
    value = problem["input"]
    is_plain = re.fullmatch(r"[\w./-]+", str(value)) and _quotable(value) not in KINDS.values()
    if problem["type"] != "tuple_type" or not is_plain:
        return ""
    *parents, last = problem["loc"]
    for each in _models_at(model, parents):
        if (field := each.model_fields.get(str(last))) is None:
            continue
        annotation: Any = field.annotation
        with contextlib.suppress(ValidationError):
            TypeAdapter(annotation).validate_python([value])
            return f": write [{value}]"
    return ""


def _nearest(loc: tuple[Step, ...], model: type[BaseModel]) -> str:
    """A hint with the known key nearest to the last key of `loc`, at its place or below; empty for none.

    `temperature: 0.6` at the top of a file is a common mistake for `sampling.temperature`.
    """
    *parents, wrong = loc
    models = list(_models_at(model, parents))
    known = {name for each in models for name in each.model_fields}
    near = get_close_matches(str(wrong), sorted(known), n=1)
    if near:
        return f": did you mean {near[0]!r}?"
    below = {path.rpartition(".")[2]: path for each in models for path in _paths(each)}
    near = get_close_matches(str(wrong), sorted(below), n=1, cutoff=0.8)
    return f": did you mean {below[near[0]]!r}?" if near else ""


def _paths(model: type[BaseModel]) -> list[str]:
    """The dotted keys of a config, the shortest last. Keys within lists are left out."""
    paths = list(model.model_fields)
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is not tuple:
            paths += [f"{name}.{path}" for part in _models_of(field.annotation) for path in _paths(part)]
    return sorted(paths, key=lambda path: -path.count("."))


def _models_at(model: type[BaseModel], steps: list[Step]) -> Iterator[type[BaseModel]]:
    """The models that a value at `steps` below `model` may have."""
    names = [step for step in steps if isinstance(step, str)]
    if not names:
        yield model
        return
    field = model.model_fields.get(names[0])
    for below in () if field is None else _models_of(field.annotation):
        yield from _models_at(below, list(names[1:]))


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_of(argument)
