"""How far a try at work is, as its driver notes it in run.json for whoever reads the folder from elsewhere."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Live(BaseModel):
    """Stage `stage` of `stages`: `done_before` of `total` rows were finished when it began, `committed` since then.

    `counts` are those of all finished rows (`cluster.commit.COMMITTED` and each judge's verdicts); `ready` are the
    replicas of each pool. `seconds` count from the stage's start; the speeds are those of `pace.Pace`.
    """

    model_config = ConfigDict(frozen=True)

    stage: int = 1
    stages: int = 1
    pools: tuple[str, ...] = ()
    total: int
    done_before: int
    committed: int
    counts: Mapping[str, int]
    ready: Mapping[str, int] = {}
    seconds: float
    tokens_per_second: float | None = None
    rows_per_second: float | None = None

    @property
    def done(self) -> int:
        return self.done_before + self.committed

    @property
    def seconds_to_go(self) -> float | None:
        """Until the stage's last row, at the speed of the last minutes; None where nothing tells."""
        if not self.rows_per_second:
            return None
        return (self.total - self.done) / self.rows_per_second
