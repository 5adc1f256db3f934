"""The rows of a data set as they were found, before any of them becomes a prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Records:
    """`rows` in their order, each with the `columns` that it has; `source` says in words where they come from."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, object]]
    source: str
