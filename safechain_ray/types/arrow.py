"""Arrow schemas derived from frozen records, so that each column is declared once.

The annotation of a field gives the Arrow type:

1. `str` and `Literal` are strings, `bool` is a boolean, `float` is a float64.
2. An integer names its width: `Int32` or `Int64`.
3. `tuple[T, ...]` is a list, and a nested record is a struct.
4. `T | None` is nullable, and so is a field with `NULLABLE`. Every other column is required.

Example:
    @dataclass(frozen=True, slots=True)
    class Span:
        name: str
        start: Int32
        score: float | None = None

    SPANS_SCHEMA = pa.schema(arrow_fields(Span))
"""

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

Int32 = Annotated[int, pa.int32()]
Int64 = Annotated[int, pa.int64()]

NULLABLE: Final = object()
"""Marks a column as nullable although the record always has a value: files of earlier versions may hold null."""

_PLAIN_TYPES = {str: pa.string(), bool: pa.bool_(), float: pa.float64()}


def arrow_fields(record: type) -> list[pa.Field]:
    """The columns of a dataclass, in the order of its fields."""
    hints = get_type_hints(record, include_extras=True)
    return [_arrow_field(each.name, hints[each.name]) for each in fields(record)]


def as_row(record: Any) -> dict[str, Any]:
    """A record as a mapping for Arrow. `dataclasses.asdict` copies every value deeply, at ten times the cost."""
    return {name: getattr(record, name) for name in record.__match_args__}


def _arrow_field(name: str, annotation: Any) -> pa.Field:
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    (kind,) = (each for each in choices if each is not NoneType)
    is_marked = any(each is NULLABLE for each in getattr(kind, "__metadata__", ()))
    return pa.field(name, _arrow_type(kind), nullable=NoneType in choices or is_marked)


def _arrow_type(kind: Any) -> pa.DataType:
    if get_origin(kind) is Annotated:
        plain, *notes = get_args(kind)
        return next((note for note in notes if isinstance(note, pa.DataType)), None) or _arrow_type(plain)
    if get_origin(kind) is Literal:
        return pa.string()
    if get_origin(kind) is tuple:
        return pa.list_(_arrow_type(get_args(kind)[0]))
    if is_dataclass(kind):
        return pa.struct(arrow_fields(kind))  # type: ignore[arg-type]
    return _PLAIN_TYPES[kind]
