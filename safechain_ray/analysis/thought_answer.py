"""Thoughts against answers: their verdicts, their token lengths with rank tests, and the first unsafe segment."""

from math import erfc, sqrt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy.stats import mannwhitneyu

from safechain_ray.analysis.rows import (
    MISSING,
    SAFE,
    UNSAFE,
    Bools,
    Floats,
    Ints,
    SettingRows,
    clustered_share,
    codes,
    share,
)
from safechain_ray.metrics.intervals import Z_95, Estimate, FrozenModel
from safechain_ray.types import Part

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
    n: int = Field(description="samples with known verdicts")
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


class LengthSummary(FrozenModel):
    """Lengths of `n` samples in tokens; None without samples."""

    n: int
    mean: float | None
    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None


class RankTest(FrozenModel):
    """Lengths of unsafe samples against safe ones.

    `longer` is the common-language effect size: how often an unsafe sample is longer than a safe one, with ties counted
    half. `rank_biserial` is the same on [-1, 1]. `u` and `p_value` are the two-sided Mann-Whitney test with the normal
    approximation, which wrongly assumes that samples of one prompt are independent. `low`, `high` and
    `clustered_p_value` account for the clusters (Obuchowski 1997, Biometrics 53:567-578, the area under a ROC curve of
    clustered data). They are None with fewer than two prompts on a side, or without any spread.
    """

    u: float
    p_value: float
    longer: float
    rank_biserial: float
    low: float | None
    high: float | None
    clustered_p_value: float | None


class LengthComparison(FrozenModel):
    """Samples whose `part` one judge calls safe and unsafe, by the length of their thought or their answer."""

    judge: str
    part: Part
    tokens_of: Part = Field(description="thought or answer, as measured")
    safe: LengthSummary
    unsafe: LengthSummary
    left_out: int = Field(description="samples without a verdict or without such tokens")
    test: RankTest | None = Field(description="None where no sample is safe, none unsafe, or all are equally long")


def length_comparison(rows: SettingRows, judge: str, part: Part, tokens_of: Part) -> LengthComparison:
    """Compare the samples of a setting by the verdicts of one judge on one part."""
    verdicts, tokens = rows.verdicts[judge, part], rows.tokens[tokens_of]
    known = (verdicts != MISSING) & ~np.isnan(tokens)
    tokens, unsafe = tokens[known], verdicts[known] == UNSAFE
    return LengthComparison(
        judge=judge,
        part=part,
        tokens_of=tokens_of,
        safe=_summary(tokens[~unsafe]),
        unsafe=_summary(tokens[unsafe]),
        left_out=int((~known).sum()),
        test=rank_test(tokens, unsafe, rows.prompts[known]) if _differ(unsafe) and _differ(tokens) else None,
    )


def rank_test(lengths: Floats, unsafe: Bools, prompts: Ints) -> RankTest:
    """Test lengths that are `unsafe` against the others, one value per sample.

    Both groups exist, and lengths differ.
    """
    long, short = lengths[unsafe], lengths[~unsafe]
    u, p_value = mannwhitneyu(long, short, method="asymptotic")
    longer = float(u) / (len(long) * len(short))
    error = _clustered_error(long, short, prompts[unsafe], prompts[~unsafe])
    return RankTest(
        u=float(u),
        p_value=float(p_value),
        longer=longer,
        rank_biserial=2 * longer - 1,
        low=None if error is None else max(0.0, longer - Z_95 * error),
        high=None if error is None else min(1.0, longer + Z_95 * error),
        clustered_p_value=None if error is None else erfc(abs(longer - 0.5) / error / sqrt(2)),
    )


def _differ(values: Bools | Floats) -> bool:
    return len(np.unique(values)) > 1


def _summary(lengths: Floats) -> LengthSummary:
    if not len(lengths):
        return LengthSummary(n=0, mean=None, lower_quartile=None, median=None, upper_quartile=None)
    lower, median, upper = np.quantile(lengths, (0.25, 0.5, 0.75)).tolist()
    return LengthSummary(
        n=len(lengths), mean=float(lengths.mean()), lower_quartile=lower, median=median, upper_quartile=upper
    )


def _clustered_error(long: Floats, short: Floats, long_prompts: Ints, short_prompts: Ints) -> float | None:
    """Standard error of `longer`, with the samples of a prompt as one cluster."""
    above = _share_below(long, short)
    below = 1 - _share_below(short, long)
    longer = above.mean()
    size = max(long_prompts.max(), short_prompts.max()) + 1
    of_long = np.bincount(long_prompts, above - longer, minlength=size)
    of_short = np.bincount(short_prompts, below - longer, minlength=size)
    with_long, with_short = len(np.unique(long_prompts)), len(np.unique(short_prompts))
    clusters = len(np.unique(np.concatenate([long_prompts, short_prompts])))
    if min(with_long, with_short) < 2:
        return None
    m, n = len(long), len(short)
    variance = (
        with_long / (with_long - 1) * (of_long**2).sum() / m**2
        + with_short / (with_short - 1) * (of_short**2).sum() / n**2
        + 2 * clusters / (clusters - 1) * (of_long * of_short).sum() / (m * n)
    )
    return sqrt(variance) if variance > 1e-12 else None


def _share_below(values: Floats, others: Floats) -> Floats:
    """For each of `values`, the share of `others` that are smaller, with equal ones counted half."""
    ordered = np.sort(others)
    positions = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    shares: Floats = positions / (2 * len(others))
    return shares
