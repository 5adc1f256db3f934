"""Metrics of a benchmark run (`metrics.json`): pass@1 and pass@k with bounds, and comparisons of two models."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb

from pydantic import Field

from safechain_ray.errors import InputError
from safechain_ray.metrics.counts import PromptHistogram
from safechain_ray.metrics.intervals import FrozenModel
from safechain_ray.metrics.safety import Metric, PairedMeans, holm, measure_values, missing_verdicts, paired_means
from safechain_ray.metrics.summary import Outcomes, SettingFacts, SettingMetrics, Tokens


@dataclass(frozen=True, slots=True)
class ProblemGrades:
    """The grades of all samples of one problem. Samples without a grade are `missing`."""

    problem_id: str
    correct: int
    wrong: int
    missing: int


class BenchmarkMetrics(FrozenModel):
    """The metrics of one model on one benchmark, over the existing grades; `missing` counts the others.

    Each metric has bounds with every missing grade counted as wrong, and as correct.
    """

    problems: int
    samples: int = Field(description="K, the samples of each problem")
    missing: int
    pass_at: dict[int, Metric] = Field(description="pass@k by k; n counts the problems with k grades or more")


def count_grades(
    grades: Iterable[tuple[str, bool | None]], problem_ids: Iterable[str], samples: int
) -> list[ProblemGrades]:
    """The grades of every problem in `problem_ids`, in their order, from (problem_id, correct) pairs.

    Raises:
        InputError: a problem has more rows than `samples`, so rows are repeated.
    """
    counts = Counter(grades)
    counted = []
    for problem_id in problem_ids:
        correct, wrong = counts[problem_id, True], counts[problem_id, False]
        rows = correct + wrong + counts[problem_id, None]
        if rows > samples:
            raise InputError(
                f"Problem {problem_id} has {rows} rows where K is {samples}. Fix: rerun the benchmark's own "
                "command, which keeps one row of each sample."
            )
        counted.append(ProblemGrades(problem_id, correct, wrong, samples - correct - wrong))
    return counted


def pass_at_k(correct: int, wrong: int, k: int) -> Fraction | None:
    """Unbiased estimate of the chance that one of k samples is correct (Codex, arXiv:2107.03374, equation 1).

    With n = correct + wrong grades it is 1 - C(wrong, k) / C(n, k); None with fewer than k grades.
    """
    graded = correct + wrong
    return 1 - Fraction(comb(wrong, k), comb(graded, k)) if graded >= k else None


def summarise_grades(
    problems: Sequence[ProblemGrades], samples: int, ks: Iterable[int] = (1,), seed: int = 0
) -> BenchmarkMetrics:
    """pass@k for each of `ks`. Intervals are Wilson's for K = 1, else a bootstrap over problems with `seed`.

    Raises InputError for a k outside 1 to `samples`.
    """
    histogram: PromptHistogram = Counter((each.correct, each.wrong) for each in problems)
    return BenchmarkMetrics(
        problems=len(problems),
        samples=samples,
        missing=missing_verdicts(histogram, samples),
        pass_at={k: _measure(_checked(k, samples), histogram, samples, seed) for k in ks},
    )


def compare_passes(
    first: Sequence[ProblemGrades],
    second: Sequence[ProblemGrades],
    samples: tuple[int, int],
    k: int = 1,
    seed: int = 0,
) -> PairedMeans:
    """pass@k of the second model minus that of the first, problem by problem. `samples` is K of each.

    Raises InputError for a k outside 1 to the smaller K.
    """
    _checked(k, min(samples))
    return paired_means(_values(first, k), _values(second, k), single=samples == (1, 1), seed=seed)


def _values(problems: Sequence[ProblemGrades], k: int) -> Mapping[str, Fraction | None]:
    return {each.problem_id: pass_at_k(each.correct, each.wrong, k) for each in problems}


def _measure(k: int, histogram: PromptHistogram, samples: int, seed: int) -> Metric:
    return measure_values(lambda correct, wrong, _: pass_at_k(correct, wrong, k), histogram, samples, seed)


def _checked(k: int, samples: int) -> int:
    if not 1 <= k <= samples:
        raise InputError(f"pass@{k} is undefined for {samples} samples a problem. Fix: give a k from 1 to {samples}.")
    return k


class BenchmarkFigures(SettingFacts):
    """One benchmark: the outcomes of its samples, and its grades."""

    grader: str
    style: str = Field(
        "default", description="how it was asked and graded; earlier versions had the default style only"
    )
    problems_published: int | None = Field(description="how many the whole benchmark has, where the catalog says so")
    rows: int
    rows_expected: int = Field(description="K rows for every problem")
    outcomes: Outcomes
    ungraded: int = Field(description="responses whose grading failed; the same command grades them again")
    tokens: Tokens
    seconds: float = Field(description="summed over rows, which ran at the same time")
    grades: BenchmarkMetrics

    @property
    def greedy(self) -> bool:
        return self.sampling["temperature"] == 0


class BenchmarkRunMetrics(FrozenModel):
    """Every benchmark of one model. `caveats` are the catalog's remarks on the model and the benchmarks."""

    model: str
    caveats: tuple[str, ...] = ()
    benchmarks: tuple[BenchmarkFigures, ...]


def benchmark_figures(
    setting: SettingMetrics,
    grader: str,
    problem_ids: Sequence[str],
    problems_published: int | None,
    grades: Iterable[tuple[str, bool | None]],
    ks: Iterable[int],
    style: str = "default",
) -> BenchmarkFigures:
    """The figures of one benchmark, from the outcomes in `setting` and (problem_id, correct) of every row.

    `problem_ids` are all problems of the run. Raises InputError for repeated rows.
    """
    found = list(grades)
    without = sum(correct is None for _, correct in found)
    unanswered = setting.outcomes["error"] + setting.outcomes["blocked"]
    return BenchmarkFigures(
        **{name: getattr(setting, name) for name in SettingFacts.model_fields},
        grader=grader,
        style=style,
        problems_published=problems_published,
        rows=setting.rows,
        rows_expected=setting.rows_expected,
        outcomes=setting.outcomes,
        ungraded=without - unanswered,
        tokens=setting.tokens,
        seconds=setting.seconds,
        grades=summarise_grades(count_grades(found, problem_ids, setting.samples), setting.samples, ks),
    )


class PassDifference(PairedMeans):
    """pass@k of a run minus that of the baseline, problem by problem. `p_adjusted` is Holm's over the comparison."""

    run: str
    benchmark: str
    k: int
    p_adjusted: float | None = None


class BenchmarkComparison(FrozenModel):
    """Runs compared with the run `baseline`. `left_out` lists what could not be compared, with the reasons."""

    baseline: str
    differences: tuple[PassDifference, ...]
    left_out: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def tests(self) -> int:
        """Number of p-values: the family of Holm's correction."""
        return sum(each.p_value is not None for each in self.differences)

    def corrected(self) -> "BenchmarkComparison":
        """The same comparison with Holm's correction over all its tests."""
        adjusted = holm([each.p_value for each in self.differences])
        pairs = zip(self.differences, adjusted, strict=True)
        return self.model_copy(
            update={"differences": tuple(each.model_copy(update={"p_adjusted": p}) for each, p in pairs)}
        )
