"""The figures of a benchmark run as one tree of frozen models, which is its `metrics.json`."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.metrics.passing import BenchmarkMetrics, count_grades, summarise_grades
from safechain_ray.metrics.summary import Outcomes, SettingFacts, SettingMetrics, Tokens


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
