"""Compares models in all that they were asked: runs with runs, benchmarks with benchmarks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from safechain_ray.commands.benchmark_figures import read_benchmark_metrics
from safechain_ray.commands.compare import compare_runs
from safechain_ray.commands.compare_benchmarks import compare_benchmarks
from safechain_ray.commands.compared_names import distinct_names
from safechain_ray.errors import InputError
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.benchmark_comparison import BenchmarkComparison
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import StandIns
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.run_kind import kind_in
from safechain_ray.runs.run_manifest import measure
from safechain_ray.storage import open_folder


@dataclass(frozen=True, slots=True)
class ComparedModels:
    """What differs between models; of what was not compared it is None.

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
    """Each further run against the first one of its kind, in whatever order runs and benchmarks are named.

    The published differences of `stand_ins` stand beside where runs alone are compared; with benchmarks what was
    published of tuned models has a table of its own (`report.models_table`). Raises InputError for a run that is the
    only one of its kind, and for what `compare_runs` and `compare_benchmarks` refuse.
    """
    benchmarked = [uri for uri in uris if kind_in(open_folder(uri)) == "benchmark"]
    judged = [uri for uri in uris if uri not in benchmarked]
    for alone, kind in ((benchmarked, "benchmarks"), (judged, "a run that judges looked at")):
        if len(alone) == 1:
            raise InputError(
                f"Only {open_folder(alone[0])} holds {kind}: name that of another model too, or leave it out. Only "
                "like is compared with like."
            )
    safety = compare_runs(judged, None if benchmarked else stand_ins) if judged else None
    benchmarks = compare_benchmarks(benchmarked) if benchmarked else None
    if safety is None or benchmarks is None:
        return ComparedModels(safety, benchmarks)
    runs = [RunFolder(open_folder(uri)) for uri in judged]
    metrics = [measure(run, RunRecord.of_finished(run).outline) for run in runs]
    grades = [read_benchmark_metrics(open_folder(uri)) for uri in benchmarked]
    names = distinct_names([run.folder for run in runs], [each.model for each in metrics])
    graded = distinct_names([open_folder(uri) for uri in benchmarked], [each.model for each in grades])
    return ComparedModels(
        safety, benchmarks, dict(zip(names, metrics, strict=True)), dict(zip(graded, grades, strict=True))
    )
