"""The comparison of models: runs with runs prompt by prompt, benchmarks with benchmarks problem by problem."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from safechain_ray.commands.compare import compare_runs, distinct_names
from safechain_ray.commands.resolve_benchmark import read_benchmark_metrics
from safechain_ray.errors import InputError
from safechain_ray.metrics.benchmark import (
    BenchmarkComparison,
    BenchmarkFigures,
    BenchmarkRunMetrics,
    PassDifference,
    ProblemGrades,
    compare_passes,
    count_grades,
)
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import StandIns
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder, kind_in, no_run
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.run_manifest import measure
from safechain_ray.storage import Folder, open_folder
from safechain_ray.types import short_hash


@dataclass(frozen=True)
class FinishedBenchmarks:
    """A benchmark run that can be compared, with a distinct name."""

    folder: Folder
    metrics: BenchmarkRunMetrics
    name: str

    @property
    def figures(self) -> dict[str, BenchmarkFigures]:
        return {each.dataset: each for each in self.metrics.benchmarks}

    @cached_property
    def grades(self) -> dict[str, list[ProblemGrades]]:
        """By benchmark. A problem is identified by its id and text, so that only equal problems are compared."""
        found: defaultdict[str, list[tuple[str, bool | None]]] = defaultdict(list)
        columns = ("dataset", "prompt_id", "prompt", "grade")
        for table in RunFolder(self.folder).counted_samples(columns):
            for name, problem_id, prompt, grade in zip(*(table[key].to_pylist() for key in columns), strict=True):
                found[name].append((f"{problem_id} {short_hash(prompt)}", grade["correct"]))
        return {
            name: count_grades(found[name], dict.fromkeys(key for key, _ in found[name]), figures.samples)
            for name, figures in self.figures.items()
        }


def compare_benchmarks(uris: Sequence[str]) -> BenchmarkComparison:
    """Each further run against the first one, over the problems that both have.

    Raises InputError for a folder without a finished benchmark run, for a run that is named twice, and for runs
    without a common problem.
    """
    baseline, *others = _open(uris)
    differences: list[PassDifference] = []
    left_out: list[str] = []
    for other in others:
        found = list(_differences(baseline, other))
        if not any(each.n for each in found):
            raise InputError(
                f"{baseline.folder} and {other.folder} have no graded problem in common: the first has "
                f"{_asked(baseline)}, the second has {_asked(other)}. Fix: name runs of the same problems and styles."
            )
        differences += found
        left_out += [
            f"{name}, asked in style {baseline.figures[name].style} by {baseline.name} and in style {figures.style} by "
            f"{other.name}"
            for name, figures in other.figures.items()
            if name in baseline.figures and figures.style != baseline.figures[name].style
        ]
        left_out += [f"{name} of {baseline.name}" for name in baseline.figures if name not in other.figures]
        left_out += [f"{name} of {other.name}" for name in other.figures if name not in baseline.figures]
    caveats = dict.fromkeys(caveat for run in (baseline, *others) for caveat in run.metrics.caveats)
    return BenchmarkComparison(
        baseline=baseline.name, differences=tuple(differences), left_out=tuple(left_out), caveats=tuple(caveats)
    ).corrected()


def _asked(run: FinishedBenchmarks) -> str:
    names = {name: "" if each.style == "default" else f" in style {each.style}" for name, each in run.figures.items()}
    return ", ".join(name + style for name, style in names.items())


def _differences(baseline: FinishedBenchmarks, other: FinishedBenchmarks) -> Iterator[PassDifference]:
    """pass@1 of every benchmark that both have, and pass@K where K is the same."""
    for name, figures in baseline.figures.items():
        if name not in other.figures or other.figures[name].style != figures.style:
            continue
        samples = (figures.samples, other.figures[name].samples)
        for k in sorted({1, samples[0]} if samples[0] == samples[1] else {1}):
            paired = compare_passes(baseline.grades[name], other.grades[name], samples, k)
            yield PassDifference(**paired.model_dump(), run=other.name, benchmark=name, k=k)


def _open(uris: Sequence[str]) -> list[FinishedBenchmarks]:
    folders = [open_folder(uri) for uri in uris]
    for each in folders:
        if kind_in(each) != "benchmark":
            raise InputError(f"{each} holds no benchmarks, and the others do. Fix: name only benchmark runs.")
        if folders.count(each) > 1:
            raise InputError(f"{each} is named twice. Fix: name each run once.")
    metrics = [read_benchmark_metrics(each) for each in folders]
    names = distinct_names(folders, [each.model for each in metrics])
    return [FinishedBenchmarks(*each) for each in zip(folders, metrics, names, strict=True)]


@dataclass(frozen=True, slots=True)
class ComparedModels:
    """The differences between models; None for a kind of run that was not compared.

    Where runs and benchmarks are both there, `safety_of` and `grades_of` are the figures of each by itself, by its name
    in the comparison, the baseline first.
    """

    safety: Comparison | None
    benchmarks: BenchmarkComparison | None
    safety_of: dict[str, RunMetrics] = field(default_factory=dict)
    grades_of: dict[str, BenchmarkRunMetrics] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every model that is compared, the baseline first."""
        safety, benchmarks = self.safety, self.benchmarks
        names = [] if safety is None else [safety.baseline, *(pair.run for pair in safety.pairs)]
        names += [] if benchmarks is None else [benchmarks.baseline, *(each.run for each in benchmarks.differences)]
        return tuple(dict.fromkeys(names))


def compare_models(uris: Sequence[str], stand_ins: StandIns | None = None) -> ComparedModels:
    """Each further run against the first one of its kind; runs and benchmarks may be named in any order.

    The published differences of `stand_ins` are listed where only runs are compared. With benchmarks the published
    figures of tuned models have a table of their own (`report.models_table`). Raises InputError for a run that is the
    only one of its kind, and the errors of `compare_runs` and `compare_benchmarks`.
    """
    kinds = {uri: kind_in(open_folder(uri)) for uri in uris}
    if absent := [uri for uri, kind in kinds.items() if kind is None]:
        raise no_run(open_folder(absent[0]), "run")
    benchmarked = [uri for uri in uris if kinds[uri] == "benchmark"]
    judged = [uri for uri in uris if uri not in benchmarked]
    for uris_of_kind, kind in ((benchmarked, "benchmarks"), (judged, "a judged run")):
        if len(uris_of_kind) == 1:
            raise InputError(
                f"Only {open_folder(uris_of_kind[0])} holds {kind}. Fix: name that of another model too, or leave it "
                "out."
            )
    safety = compare_runs(judged, None if benchmarked else stand_ins) if judged else None
    benchmarks = compare_benchmarks(benchmarked) if benchmarked else None
    if safety is None or benchmarks is None:
        return ComparedModels(safety, benchmarks)
    runs = [RunFolder(open_folder(uri)) for uri in judged]
    metrics = [measure(run, RunRecord.of_finished(run).run_manifest) for run in runs]
    grades = [read_benchmark_metrics(open_folder(uri)) for uri in benchmarked]
    names = distinct_names([run.folder for run in runs], [each.model for each in metrics])
    graded = distinct_names([open_folder(uri) for uri in benchmarked], [each.model for each in grades])
    return ComparedModels(
        safety, benchmarks, dict(zip(names, metrics, strict=True)), dict(zip(graded, grades, strict=True))
    )
