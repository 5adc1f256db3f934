"""pass@1 and pass@k of a benchmark, with intervals and the bounds of missing grades; two models compared."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb

from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.errors import InputError
from safechain_ray.metrics.counts import Tally
from safechain_ray.metrics.paired import PairedMeans, paired_means
from safechain_ray.metrics.safety import Metric, measure_values, missing_verdicts


@dataclass(frozen=True, slots=True)
class ProblemGrades:
    """The grades of all samples of one problem. A sample without one, whatever the reason, is `missing`."""

    problem_id: str
    correct: int
    wrong: int
    missing: int


class BenchmarkMetrics(BaseModel):
    """The figures of one model on one benchmark. Metrics are over the grades that there are; `missing` counts the rest.

    Beside each metric stands its bound with every missing grade taken as wrong, and as correct.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    problems: int
    samples: int = Field(description="K, the samples of each problem")
    missing: int
    pass_at: dict[int, Metric] = Field(description="pass@k by k; n counts the problems with k grades or more")


def count_grades(
    grades: Iterable[tuple[str, bool | None]], problem_ids: Iterable[str], samples: int
) -> list[ProblemGrades]:
    """Every problem of `problem_ids` in their order, with its (problem_id, correct) grades out of `samples`.

    Raises InputError for a problem with more rows than `samples`, that is, where rows repeat.
    """
    counts = Counter(grades)
    counted = []
    for problem_id in problem_ids:
        correct, wrong = counts[problem_id, True], counts[problem_id, False]
        rows = correct + wrong + counts[problem_id, None]
        if rows > samples:
            raise InputError(
                f"Problem {problem_id} has {rows} rows where K is {samples}. Fix: rerun the benchmark's own "
                "command: it keeps one row of each sample."
            )
        counted.append(ProblemGrades(problem_id, correct, wrong, samples - correct - wrong))
    return counted


def pass_at_k(correct: int, wrong: int, k: int) -> Fraction | None:
    """The unbiased estimate of the chance that one of k samples is correct (Codex, arXiv:2107.03374, equation 1).

    With n = correct + wrong grades it is 1 - C(wrong, k) / C(n, k); None with less than k.
    """
    graded = correct + wrong
    return 1 - Fraction(comb(wrong, k), comb(graded, k)) if graded >= k else None


def summarise_grades(
    problems: Sequence[ProblemGrades], samples: int, ks: Iterable[int] = (1,), seed: int = 0
) -> BenchmarkMetrics:
    """pass@k for each of `ks`. Intervals are Wilson's for K = 1, else a bootstrap over problems with `seed`.

    Raises InputError for a k that is not from 1 to `samples`.
    """
    tally: Tally = Counter((each.correct, each.wrong) for each in problems)
    return BenchmarkMetrics(
        problems=len(problems),
        samples=samples,
        missing=missing_verdicts(tally, samples),
        pass_at={k: _measure(_checked(k, samples), tally, samples, seed) for k in ks},
    )


def compare_passes(
    first: Sequence[ProblemGrades],
    second: Sequence[ProblemGrades],
    samples: tuple[int, int],
    k: int = 1,
    seed: int = 0,
) -> PairedMeans:
    """pass@k of the second model minus that of the first, problem by problem; `samples` is K of each.

    Raises InputError for a k that is not from 1 to the K of both.
    """
    _checked(k, min(samples))
    return paired_means(_values(first, k), _values(second, k), single=samples == (1, 1), seed=seed)


def _values(problems: Sequence[ProblemGrades], k: int) -> Mapping[str, Fraction | None]:
    return {each.problem_id: pass_at_k(each.correct, each.wrong, k) for each in problems}


def _measure(k: int, tally: Tally, samples: int, seed: int) -> Metric:
    return measure_values(lambda correct, wrong, _: pass_at_k(correct, wrong, k), tally, samples, seed)


def _checked(k: int, samples: int) -> int:
    if not 1 <= k <= samples:
        raise InputError(f"pass@{k} can't be told of {samples} samples a problem: k must be from 1 to {samples}.")
    return k
