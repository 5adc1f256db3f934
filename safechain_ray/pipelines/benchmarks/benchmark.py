"""Reasoning benchmarks: every problem put to one model, and each answer graded in the same stream."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from ray.data import Dataset

from safechain_ray.benchmarks.sandbox import require_sandbox
from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.cluster.planner import ClusterView, Plan, make_plan
from safechain_ray.cluster.session import cluster_address
from safechain_ray.cluster.streaming import stream
from safechain_ray.cluster.streaming.stage import Stage
from safechain_ray.cluster.workers.commit import Commit
from safechain_ray.cluster.workers.grading import Grading, SharedProblems, check_sandboxes, grade_counts
from safechain_ray.config import BenchmarkConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.pipelines.benchmarks.figures import measure_benchmarks
from safechain_ray.pipelines.benchmarks.regrade import drop_old_grades, outdated
from safechain_ray.pipelines.benchmarks.resolve import ResolvedBenchmarks, resolve_benchmarks
from safechain_ray.pipelines.evaluation.evaluate import check_key
from safechain_ray.pipelines.runs.attempt import attempt
from safechain_ray.pipelines.runs.compaction import compact
from safechain_ray.pipelines.runs.inventory import Inventory, RowKind, put_in_order, tell
from safechain_ray.pipelines.runs.job import GeneratingJob, Means
from safechain_ray.pipelines.runs.kept_rounds import forget_rounds
from safechain_ray.pipelines.runs.observer import Observer
from safechain_ray.pipelines.runs.output import held_output
from safechain_ray.pipelines.runs.pools import pool_needs
from safechain_ray.pipelines.runs.run_folder import RunFolder
from safechain_ray.pipelines.runs.run_record import RunRecord
from safechain_ray.schema.graded import GRADED_SCHEMA, without_grade

graded_in_order = partial(put_in_order, kind=RowKind(GRADED_SCHEMA), unfinished=without_grade)
"""`put_in_order` of a benchmark's samples: those whose grading failed are told as unfinished."""


@dataclass(frozen=True, slots=True)
class Benchmarked:
    """How it ended. `committed` counts the samples that were generated or graded in this try."""

    folder: RunFolder
    metrics: BenchmarkRunMetrics
    committed: int

    @property
    def errors(self) -> int:
        """Samples that have no answer, or an answer without a grade, because something failed."""
        return sum(each.outcomes["error"] + each.ungraded for each in self.metrics.benchmarks)


def benchmark(config: BenchmarkConfig, observer: Observer, start_engine: StartEngine) -> Benchmarked:
    """Run benchmarks to their end, going on where an earlier try was cut off.

    Samples with their grades and metrics.json are left in the run's folder. Raises InputError (PlanError and
    RunConflictError among it), SandboxError where code would have to be run without one, and OutputHeldError before a
    model loads; what a stream raises while it runs. What is committed is kept in any case.
    """
    benchmarks = resolve_benchmarks(config)
    with held_output(config.output or f"runs/{benchmarks.short_name()}", config.resources, observer) as folder:
        return _benchmarked(benchmarks, config, folder, observer, start_engine)


def _benchmarked(
    benchmarks: ResolvedBenchmarks,
    config: BenchmarkConfig,
    folder: RunFolder,
    observer: Observer,
    start_engine: StartEngine,
) -> Benchmarked:
    record = RunRecord.resumed(folder, config, benchmarks.identity(), benchmarks.facts())
    is_local = cluster_address(config.resources.ray_address) is None
    if is_local and outdated(record, benchmarks.grader_versions).intersection(benchmarks.run_code):
        require_sandbox()  # before grades are removed
    old_grades = drop_old_grades(folder, record, benchmarks.grader_versions)
    if old_grades:
        observer.say(f"{old_grades} answers were graded by an earlier version of their grader and are graded again.")
    inventory = graded_in_order(folder.samples, retry_errors=True, expected=benchmarks.run.worklist.ids())
    tell(inventory, observer)
    total, graded = len(benchmarks.run.worklist), len(inventory.finished) - len(inventory.unfinished)
    if len(inventory.unfinished) > old_grades:
        failed = len(inventory.unfinished) - old_grades
        observer.say(f"{failed} answers could not be graded before and are graded again.")
    if graded == total:
        observer.say(f"All {total} samples are graded already: no engine is started.")
        return _measured(benchmarks, config, folder, record, 0)
    if is_local and benchmarks.run_code:
        require_sandbox()
    if is_local and isinstance(benchmarks.run.model, ApiEntry):
        check_key(benchmarks.run.model)

    def plan_on(view: ClusterView) -> Plan:
        if len(inventory.finished) == total:
            return Plan(((),))  # grading takes what CPUs there are, and no engine
        return make_plan(pool_needs(benchmarks.run, config.resources, view), view)

    means = Means(config.resources, observer, record, start_engine)
    committed = attempt(lambda logs: BenchmarkJob(benchmarks, folder, means, logs), plan_on, means, graded, total)
    return _measured(benchmarks, config, folder, record, committed)


class BenchmarkJob(GeneratingJob):
    """Grades the samples that wait for it, then generates those that are not there, grading each as it comes."""

    decisions = ("correct", "wrong")

    def __init__(self, benchmarks: ResolvedBenchmarks, folder: RunFolder, means: Means, log_folder: Path) -> None:
        super().__init__(benchmarks.run, folder, means, log_folder)
        self._benchmarks = benchmarks

    def run_stages(self, plan: Plan) -> int:
        ((*pools,),) = plan.stages
        if self._benchmarks.run_code:
            check_sandboxes()
        grading = Grading(
            {
                name: SharedProblems(entry.grader, self._benchmarks.problems[name])
                for name, entry in self._benchmarks.entries.items()
            },
            self._tally,
        )
        there = graded_in_order(self._folder.samples, retry_errors=True, counts=_counts_of_graded)
        committed = 0
        if there.unfinished:
            rows = stream.stored_samples(self._folder.samples, there.unfinished, self._settings.block_rows)
            committed += self._graded(rows, grading, (), len(there.finished) - len(there.unfinished), there)
            there = graded_in_order(self._folder.samples, retry_errors=True, counts=grade_counts)
        numbers, left = self._source(set(there.finished))
        for pool in pools if left else ():
            rows = self._through(numbers, pool)
            committed += self._graded(rows, grading, (pool.needs.pool,), len(there.finished), there)
        return committed

    def _graded(
        self, samples: Dataset, grading: Grading, pools: tuple[str, ...], done_before: int, there: Inventory
    ) -> int:
        graded = stream.grade(samples, grading, self._means.resources.ray_address)
        blocks = stream.commit(graded, None, Commit(self._folder.samples, counts=grade_counts), self._means.control)
        return self._pump(blocks, Stage(pools, self._total, done_before, there.counts))


def _counts_of_graded(samples: pa.Table) -> dict[str, int]:
    return grade_counts(samples.filter(pa.array([not missing for missing in without_grade(samples)], pa.bool_())))


def _measured(
    benchmarks: ResolvedBenchmarks, config: BenchmarkConfig, folder: RunFolder, record: RunRecord, committed: int
) -> Benchmarked:
    graded_in_order(folder.samples, retry_errors=False)
    compact(folder.samples)
    metrics = measure_benchmarks(benchmarks, folder, config.told_ks)
    folder.folder.write_text("metrics.json", metrics.model_dump_json(indent=2) + "\n")
    folder.write_card()
    record.came_to(metrics.benchmarks)
    forget_rounds(folder.folder)
    return Benchmarked(folder, metrics, committed)
