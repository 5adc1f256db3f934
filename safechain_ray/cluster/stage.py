"""One stage of a run, as a driver tells of it: which pools do how many rows, and what was finished before."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage `number` of `stages`: `pools` finish what is left of `total` rows, judged by `judges` when committed.

    `done_before` rows were finished when it began, and `found` holds their counts (`commit.COMMITTED`).
    """

    pools: tuple[str, ...]
    total: int
    done_before: int = 0
    found: Mapping[str, int] = field(default_factory=dict)
    judges: tuple[str, ...] = ()
    number: int = 1
    stages: int = 1

    @property
    def is_last(self) -> bool:
        """Its commits are those of the run; an earlier stage's wait for the next one."""
        return self.number == self.stages
