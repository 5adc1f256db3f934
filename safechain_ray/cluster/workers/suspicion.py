"""Which row kills engines: what is held against a row, and how few others it may meet until that is settled."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suspicion:
    """`deaths` engines died while a row was decoded; at the last one `crowd` rows were, itself among them."""

    deaths: int
    crowd: int

    def room(self, max_deaths: int) -> int:
        """How many rows an engine may decode together with this one counted.

        The crowd shrinks by the same factor at each death, so that a row is alone at death number `max_deaths`
        however many it began with: 512 rows, then 22, then 1 for three.
        """
        left = max_deaths - self.deaths
        return max(1, int(self.crowd ** ((left - 1) / left))) if left > 1 else 1

    def is_settled(self, max_deaths: int) -> bool:
        """Whether the row is their cause: it was alone at the last of `max_deaths` deaths or more."""
        return self.deaths >= max_deaths and self.crowd == 1


def blamed(known: Mapping[str, Suspicion], rows: Collection[str]) -> dict[str, Suspicion]:
    """What is held against each of `rows` after an engine died that decoded all of them."""
    return {row: Suspicion(known[row].deaths + 1 if row in known else 1, len(rows)) for row in rows}
