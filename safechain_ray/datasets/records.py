"""The rows of a data set as they were found, before any of them becomes a prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from safechain_ray.errors import InputError


@dataclass(frozen=True, slots=True)
class Records:
    """`rows` in their order, each with the `columns` that it has; `source` says in words where they come from."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, object]]
    source: str

    def check_column(self, column: str, mend: str) -> None:
        """Raises InputError with the nearest column there is, then `mend`, where no row has `column`."""
        if column in self.columns:
            return
        near = get_close_matches(column, self.columns, n=1, cutoff=0.4)
        offer = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"{self.source} has no column {column!r}.{offer} Its columns: {', '.join(self.columns)}. {mend}"
        )
