"""Verdicts on thoughts against verdicts on answers, and the position of the first unsafe segment of a thought."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from safechain_ray.analysis.rows import MISSING, SAFE, UNSAFE, SettingRows, clustered_share, codes, share
from safechain_ray.metrics.intervals import Estimate, FrozenModel

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


class AnswerCounts(FrozenModel):
    """Samples by the verdict on their answer."""

    safe: int
    unsafe: int
    missing: int


class Crosstab(FrozenModel):
    """Samples by the verdicts on their thought (field) and on their answer. Together they are all samples.

    The rates are over samples with both verdicts. Each is a conditional probability given the part after `given`.
    """

    thought_safe: AnswerCounts
    thought_unsafe: AnswerCounts
    thought_missing: AnswerCounts
    answer_unsafe_given_thought_unsafe: Estimate
    answer_unsafe_given_thought_safe: Estimate


class ThoughtAnswer(Crosstab):
    """The verdicts of one judge on the samples of a setting, over all samples and by category."""

    judge: str
    thought_unsafe_given_answer_unsafe: Estimate
    thought_unsafe_given_answer_safe: Estimate
    categories: dict[str, Crosstab] = Field(description="the same for the prompts of one category")


def thought_answer(rows: SettingRows, judge: str) -> ThoughtAnswer:
    """The table of a judge that judged both thoughts and answers."""
    thought, answer = rows.verdicts[judge, "thought"], rows.verdicts[judge, "answer"]
    categories = np.unique(rows.categories).tolist()
    return ThoughtAnswer(
        judge=judge,
        **dict(crosstab(rows, judge)),
        thought_unsafe_given_answer_unsafe=share(rows, thought == UNSAFE, (thought != MISSING) & (answer == UNSAFE)),
        thought_unsafe_given_answer_safe=share(rows, thought == UNSAFE, (thought != MISSING) & (answer == SAFE)),
        categories={name: crosstab(rows.filter(rows.categories == name), judge) for name in categories},
    )


def crosstab(rows: SettingRows, judge: str) -> Crosstab:
    """The table over all `rows`."""
    thought, answer = rows.verdicts[judge, "thought"], rows.verdicts[judge, "answer"]
    counts = np.bincount(3 * thought.astype(np.int64) + answer, minlength=9).reshape(3, 3).tolist()
    safe, unsafe, missing = (AnswerCounts(safe=row[SAFE], unsafe=row[UNSAFE], missing=row[MISSING]) for row in counts)
    return Crosstab(
        thought_safe=safe,
        thought_unsafe=unsafe,
        thought_missing=missing,
        answer_unsafe_given_thought_unsafe=share(rows, answer == UNSAFE, (answer != MISSING) & (thought == UNSAFE)),
        answer_unsafe_given_thought_safe=share(rows, answer == UNSAFE, (answer != MISSING) & (thought == SAFE)),
    )


class FirstUnsafe(FrozenModel):
    """How much of a thought had been read when one judge first called it unsafe, over `n` samples.

    `first[i]` is the share of samples whose first unsafe prefix ends closest to (i + 1) / pieces of the thought. With
    `never` the shares sum to 1. `counts` are the same as numbers of samples, with never unsafe ones last.
    """

    judge: str
    pieces: int
    n: int = Field(description="samples of which it is known")
    missing: int = Field(description="no thought, no verdicts yet, or one missing before the first unsafe piece")
    counts: tuple[int, ...]
    first: tuple[Estimate, ...]
    never: Estimate


def first_unsafe(setting_id: str, rows: int, samples: int, verdicts: pa.Table) -> list[FirstUnsafe]:
    """One result for each judge and number of prefixes in `verdicts`, a table with POSITION_COLUMNS, in their order.

    `rows` and `samples` (K) are those of the setting.
    """
    of_setting = verdicts.filter(pc.field("setting_id") == setting_id)
    asked = of_setting.select(["judge", "pieces"]).group_by(["judge", "pieces"]).aggregate([]).to_pylist()
    found = []
    for each in sorted(asked, key=lambda each: (each["judge"], each["pieces"])):
        of_judge = (pc.field("judge") == each["judge"]) & (pc.field("pieces") == each["pieces"])
        found.append(_first_unsafe(each["judge"], each["pieces"], rows, samples, of_setting.filter(of_judge)))
    return found


def _first_unsafe(judge: str, count: int, rows: int, samples: int, table: pa.Table) -> FirstUnsafe:
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
    nearest = np.where(never, count + 1, np.clip(np.rint(np.where(np.isinf(first), 0, first) * count), 1, count))
    prompts = np.zeros(total, dtype=np.int64)
    prompts[sample] = codes(table["prompt_id"])
    shares = [
        clustered_share(prompts, nearest == number, known, clustered=samples > 1) for number in range(1, count + 2)
    ]
    return FirstUnsafe(
        judge=judge,
        pieces=count,
        n=int(known.sum()),
        missing=rows - int(known.sum()),
        counts=tuple(int((known & (nearest == number)).sum()) for number in range(1, count + 2)),
        first=tuple(shares[:-1]),
        never=shares[-1],
    )
