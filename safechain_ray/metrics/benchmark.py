"""The figures of a benchmark run as one tree of frozen models, which is its `metrics.json`.

pass@1 and pass@k of a benchmark, with intervals and the bounds of missing grades; two models compared.

Two models on the same problems: paired differences of pass@k, with corrected tests.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb

from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.errors import InputError
from safechain_ray.metrics.counts import Tally
from safechain_ray.metrics.paired import PairedMeans, holm, paired_means
from safechain_ray.metrics.safety import Metric, measure_values, missing_verdicts
from safechain_ray.metrics.summary import Outcomes, SettingFacts, SettingMetrics, Tokens


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


class BenchmarkFigures(SettingFacts):
    """One benchmark: what became of its samples, then how many were solved."""

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


class BenchmarkRunMetrics(BaseModel):
    """Every benchmark of one model. `caveats` are what the catalog wants said of the model and the benchmarks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    `problem_ids` are all that were to be asked. Raises InputError where rows repeat.
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


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PassDifference(PairedMeans):
    """pass@k of a run minus that of the baseline, problem by problem. `p_adjusted` is Holm's over the comparison."""

    run: str
    benchmark: str
    k: int
    p_adjusted: float | None = None


class BenchmarkComparison(_Model):
    """`baseline` names the run that all others are compared with; `left_out` says what could not be, and why."""

    baseline: str
    differences: tuple[PassDifference, ...]
    left_out: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def tests(self) -> int:
        """How many p-values there are, which is the family of Holm's correction."""
        return sum(each.p_value is not None for each in self.differences)

    def corrected(self) -> "BenchmarkComparison":
        """The same with Holm's correction over every test in it."""
        adjusted = holm([each.p_value for each in self.differences])
        pairs = zip(self.differences, adjusted, strict=True)
        return self.model_copy(
            update={"differences": tuple(each.model_copy(update={"p_adjusted": p}) for each, p in pairs)}
        )
