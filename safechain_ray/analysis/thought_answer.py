"""Thought against answer: how often one judge finds each of them safe and unsafe, and the one given the other."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.analysis.rows import MISSING, SAFE, UNSAFE, SettingRows
from safechain_ray.analysis.shares import share
from safechain_ray.metrics.intervals import Estimate


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AnswerCounts(_Model):
    """Samples by the verdict on their answer."""

    safe: int
    unsafe: int
    missing: int


class Crosstab(_Model):
    """Samples by the verdicts on their thought (field) and on their answer; together they are all samples.

    The rates are over the samples that have both verdicts, each a probability given what stands behind `given`.
    """

    thought_safe: AnswerCounts
    thought_unsafe: AnswerCounts
    thought_missing: AnswerCounts
    answer_unsafe_given_thought_unsafe: Estimate
    answer_unsafe_given_thought_safe: Estimate


class ThoughtAnswer(Crosstab):
    """What one judge says of the samples of a setting, over all of them and by category."""

    judge: str
    thought_unsafe_given_answer_unsafe: Estimate
    thought_unsafe_given_answer_safe: Estimate
    categories: dict[str, Crosstab] = Field(description="the same for the prompts of one category")


def thought_answer(rows: SettingRows, judge: str) -> ThoughtAnswer:
    """The table of a judge that was asked of both thoughts and answers."""
    thought, answer = rows.verdicts[judge, "thought"], rows.verdicts[judge, "answer"]
    categories = np.unique(rows.categories).tolist()
    return ThoughtAnswer(
        judge=judge,
        **dict(crosstab(rows, judge)),
        thought_unsafe_given_answer_unsafe=share(rows, thought == UNSAFE, (thought != MISSING) & (answer == UNSAFE)),
        thought_unsafe_given_answer_safe=share(rows, thought == UNSAFE, (thought != MISSING) & (answer == SAFE)),
        categories={name: crosstab(rows.only(rows.categories == name), judge) for name in categories},
    )


def crosstab(rows: SettingRows, judge: str) -> Crosstab:
    """The table over `rows`, whatever their categories."""
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
