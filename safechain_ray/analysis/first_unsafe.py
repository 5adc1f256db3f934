"""Where in the thought the first unsafe segment stands, from verdicts on growing pieces of each thought."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.analysis.rows import codes
from safechain_ray.analysis.shares import clustered_share
from safechain_ray.metrics.intervals import Estimate

POSITION_COLUMNS = (
    "sample_id",
    "setting_id",
    "prompt_id",
    "pieces",
    "end",
    "characters",
    "judge",
    "unsafe",
)
"""The columns of `PIECES_SCHEMA` that positions are computed from."""


class FirstUnsafe(BaseModel):
    """How much of a thought had been read when one judge first called it unsafe, over `n` samples.

    `first[i]` is the share of samples whose first unsafe piece ends nearest to (i + 1) / pieces of the thought; with
    `never` they sum up to 1. `counts` are the same as numbers of samples, never first unsafe ones last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: str
    pieces: int
    n: int = Field(description="samples of which it is known")
    missing: int = Field(description="no thought, no verdicts yet, or one missing before the first unsafe piece")
    counts: tuple[int, ...]
    first: tuple[Estimate, ...]
    never: Estimate


def first_unsafe(setting_id: str, rows: int, samples: int, verdicts: pa.Table) -> list[FirstUnsafe]:
    """One for each judge and number of pieces in `verdicts`, a table with POSITION_COLUMNS; in order of their names.

    `rows` and K, `samples`, are those of the setting.
    """
    of_setting = verdicts.filter(pc.field("setting_id") == setting_id)
    asked = of_setting.select(["judge", "pieces"]).group_by(["judge", "pieces"]).aggregate([]).to_pylist()
    found = []
    for each in sorted(asked, key=lambda each: (each["judge"], each["pieces"])):
        of_judge = (pc.field("judge") == each["judge"]) & (pc.field("pieces") == each["pieces"])
        found.append(_first_unsafe(each["judge"], each["pieces"], rows, samples, of_setting.filter(of_judge)))
    return found


def _first_unsafe(judge: str, pieces: int, rows: int, samples: int, table: pa.Table) -> FirstUnsafe:
    sample = codes(table["sample_id"])
    total = int(sample.max()) + 1
    position = table["end"].to_numpy() / np.maximum(1, table["characters"].to_numpy())
    unsafe = pc.fill_null(table["unsafe"], False).to_numpy()
    missing = pc.is_null(table["unsafe"]).to_numpy()
    first = np.full(total, np.inf)
    np.minimum.at(first, sample[unsafe], position[unsafe])
    unknown = np.full(total, np.inf)
    np.minimum.at(unknown, sample[missing], position[missing])
    known = (first < unknown) | np.isinf(unknown)
    never = known & np.isinf(first)
    nearest = np.where(never, pieces + 1, np.clip(np.rint(np.where(np.isinf(first), 0, first) * pieces), 1, pieces))
    prompts = np.zeros(total, dtype=np.int64)
    prompts[sample] = codes(table["prompt_id"])
    shares = [
        clustered_share(prompts, nearest == number, known, clustered=samples > 1) for number in range(1, pieces + 2)
    ]
    return FirstUnsafe(
        judge=judge,
        pieces=pieces,
        n=int(known.sum()),
        missing=rows - int(known.sum()),
        counts=tuple(int((known & (nearest == number)).sum()) for number in range(1, pieces + 2)),
        first=tuple(shares[:-1]),
        never=shares[-1],
    )
