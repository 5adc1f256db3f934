"""The rows of a data set as they were found, before any of them becomes a prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from safechain_ray.errors import InputError


@dataclass(frozen=True, slots=True)
class BrokenText:
    """An invalid text: half of a surrogate pair, or bytes that are not UTF-8.

    Only its row is bad. Converted to text, the value has U+FFFD in place of the invalid part.
    """

    readable: str
    problem: str

    def __str__(self) -> str:
        return self.readable


@dataclass(frozen=True, slots=True)
class Records:
    """`rows` in their order, each with the `columns` that it has; `source` says in words where they come from."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, object]]
    source: str

    def check_column(self, column: str, fix: str) -> None:
        """Raises InputError with the nearest column there is, then `fix`, where no row has `column`."""
        if column in self.columns:
            return
        near = get_close_matches(column, self.columns, n=1, cutoff=0.4)
        offer = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"{self.source} has no column {column!r}.{offer} Its columns: {', '.join(self.columns)}. {fix}"
        )


def as_text(value: object) -> str:
    """An id, a category or a label as text; empty for a missing one.

    A table library stores integers beside a missing value as floats: 1.0 is the integer 1, and NaN is missing.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def text_problem(value: object, kind: str) -> str | None:
    """Why `value` is not the text that a row needs as its `kind`; None for a text that is not blank."""
    if isinstance(value, BrokenText):
        return f"the {kind} {value.problem}"
    if value is not None and not isinstance(value, str):
        return f"the {kind} is no text but a value of type {type(value).__name__}"
    if value is None or not value.strip():
        return f"the {kind} is empty"
    return None
