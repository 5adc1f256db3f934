"""What each filter step left out, by kind of prompt, so that the counts of a data set can be added up."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

SOURCE = "rows of the source"


class Step(BaseModel):
    """One step: how many prompts of each kind it left out, and how many were left after it."""

    model_config = ConfigDict(frozen=True)

    name: str
    left_out: dict[str, int]
    left: dict[str, int]

    @property
    def total_left_out(self) -> int:
        return sum(self.left_out.values())

    @property
    def total_left(self) -> int:
        return sum(self.left.values())


def count_steps(source: Mapping[str, int], left_out: Sequence[tuple[str, Mapping[str, int]]]) -> tuple[Step, ...]:
    """The steps in their order, after one for the `source` itself; every step names every kind."""
    left = Counter(source)
    steps = [Step(name=SOURCE, left_out=dict.fromkeys(sorted(left), 0), left=dict(sorted(left.items())))]
    for name, counts in left_out:
        left.subtract(counts)
        out = {kind: counts.get(kind, 0) for kind in sorted(left)}
        steps.append(Step(name=name, left_out=out, left=dict(sorted(left.items()))))
    return tuple(steps)
