"""The benchmark command: one model answers every problem, and each answer is graded in the same stream.

A grader's version rises when the same text may get another grade. A rerun of the command first regrades the stored
answers, so that a run never mixes grades of two versions. Nothing is generated again.
"""

from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from safechain_ray.benchmarks.sandbox import require_sandbox
from safechain_ray.cluster import pipeline
from safechain_ray.cluster.planner import ClusterView, Plan, make_plan
from safechain_ray.cluster.progress import Stage
from safechain_ray.cluster.session import cluster_address
from safechain_ray.cluster.workers.grader import BlockGrader, SharedProblems, check_sandboxes, grade_counts
from safechain_ray.cluster.workers.writer import BlockWriter
from safechain_ray.commands.benchmark_references import write_references
from safechain_ray.commands.evaluate import Generation, check_key
from safechain_ray.commands.resolve_benchmark import ResolvedBenchmarks, measure_benchmarks, resolve_benchmarks
from safechain_ray.config import BenchmarkConfig, ResourcesConfig
from safechain_ray.config.parts import TrackerName
from safechain_ray.engines.start import StartEngine
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.flat import flat_passes
from safechain_ray.runs.attempt import Attempt, RowStream, delete_checkpoints
from safechain_ray.runs.file_index import FileIndex, RowKind, compact, repair_and_index, report_repairs
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.pools import pool_needs
from safechain_ray.runs.progress import RunReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.workload import Remaining, Workload, run
from safechain_ray.storage import Folder
from safechain_ray.types import arrow_array, short_hash
from safechain_ray.types.tables import GRADE_TYPE, GRADED_SCHEMA, without_grade

FIRST_VERSION = 1
"""The version of graders in runs that record no version."""

REASON = "graded by an earlier version of the grader"


def outdated(record: RunRecord, versions: Mapping[str, int]) -> set[str]:
    """The benchmarks with grades of another version of their grader; `versions` go by benchmark."""
    return {name for name, version in versions.items() if record.grader_versions.get(name, FIRST_VERSION) != version}


def drop_old_grades(folder: RunFolder, record: RunRecord, versions: Mapping[str, int]) -> int:
    """Remove the grades of other versions of their grader, and return their number. `versions` go by benchmark.

    The record gets the new versions last, so that an interrupted removal is repeated. Removal is idempotent.
    """
    old = outdated(record, versions)
    if not old:
        return 0
    repair_and_index(folder.samples, retry_errors=False, kind=RowKind(GRADED_SCHEMA), incomplete=without_grade)
    dropped = sum(_drop(folder.samples, name, old) for name in folder.samples.list_files(".parquet"))
    record.graded_by(versions)
    return dropped


def _drop(samples: Folder, name: str, benchmarks: Set[str]) -> int:
    """Rewrite one file without the grades of these benchmarks; the new file is written before the old is deleted."""
    table = samples.read_parquet(name)
    graded = pc.is_valid(pc.struct_field(table["grade"], "correct"))
    stale = pc.and_(graded, pc.is_in(table["dataset"], pa.array(sorted(benchmarks)))).to_pylist()
    if not any(stale):
        return 0
    grades = [
        grade | {"correct": None, "error": REASON} if is_stale else grade
        for grade, is_stale in zip(table["grade"].to_pylist(), stale, strict=True)
    ]
    column = table.schema.get_field_index("grade")
    rest = table.set_column(column, GRADED_SCHEMA.field("grade"), arrow_array(grades, GRADE_TYPE))
    samples.write_parquet(f"part-{short_hash(REASON, name)}.parquet", rest)
    samples.delete(name)
    return sum(stale)


repair_graded = partial(repair_and_index, kind=RowKind(GRADED_SCHEMA), incomplete=without_grade)
"""`repair_and_index` of a benchmark's samples: those whose grading failed are incomplete."""


@dataclass(frozen=True, slots=True)
class Benchmarked:
    """Result of a benchmark run. `committed` counts the samples that this attempt generated or graded."""

    folder: RunFolder
    metrics: BenchmarkRunMetrics
    committed: int

    @property
    def errors(self) -> int:
        """Samples that have no answer, or an answer without a grade, because something failed."""
        return sum(each.outcomes["error"] + each.ungraded for each in self.metrics.benchmarks)


def benchmark(config: BenchmarkConfig, reporter: RunReporter, start_engine: StartEngine) -> Benchmarked:
    """Run benchmarks to their end. They resume where an earlier attempt was interrupted.

    Leaves samples with their grades, metrics.json, and references.parquet for readers. Raises the errors of
    `workload.run`, and SandboxError before a model loads where code would have to be run without a sandbox.
    """
    return run(BenchmarkWorkload(config, resolve_benchmarks(config)), reporter, start_engine)


@dataclass(frozen=True)
class BenchmarkWorkload(Workload[Benchmarked]):
    """All answers to the problems, graded. Answers that are queued for their grade come first."""

    config: BenchmarkConfig
    benchmarks: ResolvedBenchmarks

    decisions = ("correct", "wrong")

    @property
    def output(self) -> str:
        return self.config.output or f"runs/{self.benchmarks.short_name()}"

    @property
    def resources(self) -> ResourcesConfig:
        return self.config.resources

    @property
    def report_to(self) -> Collection[TrackerName]:
        return self.config.report_to

    def tracked_figures(self, result: Benchmarked) -> Mapping[str, float]:
        return flat_passes(result.metrics)

    def open_record(self, folder: RunFolder) -> RunRecord:
        return RunRecord.resumed(folder, self.config, self.benchmarks.identity(), self.benchmarks.facts())

    def repair(self, folder: RunFolder, record: RunRecord, reporter: RunReporter) -> Remaining:
        benchmarks = self.benchmarks
        is_local = cluster_address(self.resources.ray_address) is None
        if is_local and outdated(record, benchmarks.grader_versions).intersection(benchmarks.run_code):
            require_sandbox()  # before grades are removed
        old_grades = drop_old_grades(folder, record, benchmarks.grader_versions)
        if old_grades:
            reporter.report(
                f"{old_grades} answers were graded by an earlier version of their grader and are graded again."
            )
        index = repair_graded(folder.samples, retry_errors=True, expected=benchmarks.run.sample_specs.ids())
        report_repairs(index, reporter)
        if len(index.incomplete) > old_grades:
            failed = len(index.incomplete) - old_grades
            reporter.report(f"{failed} answers could not be graded before and are graded again.")
        total = len(benchmarks.run.sample_specs)

        def plan_on(view: ClusterView) -> Plan:
            if len(index.completed) == total:
                return Plan(((),))  # grading takes the free CPUs, and no engine
            return make_plan(pool_needs(benchmarks.run, self.resources, view), view)

        def streams(plan: Plan, attempt: Attempt) -> Iterator[RowStream]:
            attempt.checkpoint_rounds(folder.folder)
            return self._streams(plan, attempt, folder)

        return Remaining(total, len(index.completed) - len(index.incomplete), plan_on, streams)

    def check_machine(self) -> None:
        if self.benchmarks.run_code:
            require_sandbox()
        check_key(self.benchmarks.run)

    def all_completed(self, total: int) -> str:
        return f"All {total} samples are graded already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> Benchmarked:
        repair_graded(folder.samples, retry_errors=False)
        compact(folder.samples)
        metrics = measure_benchmarks(self.benchmarks, folder, self.config.reported_ks)
        folder.write_figures("metrics.json", metrics)
        folder.write_card()
        record.measured(metrics.benchmarks)
        write_references(folder, self.benchmarks.problems)
        delete_checkpoints(folder.folder)
        return Benchmarked(folder, metrics, committed)

    def _streams(self, plan: Plan, attempt: Attempt, folder: RunFolder) -> Iterator[RowStream]:
        """Grade the answers without a grade, then generate the missing ones and grade each as it is generated."""
        ((*pools,),) = plan.stages
        if self.benchmarks.run_code:
            check_sandboxes()
        problems = {
            name: SharedProblems(entry, self.benchmarks.problems[name])
            for name, entry in self.benchmarks.entries.items()
        }
        grading = BlockGrader(problems, attempt.settings.progress_tracker)
        index = repair_graded(folder.samples, retry_errors=True, counts=_counts_of_graded)
        if index.incomplete:
            rows = pipeline.stored_samples(folder.samples, index.incomplete, attempt.settings.block_rows)
            yield self._graded(rows, grading, (), len(index.completed) - len(index.incomplete), index, folder)
            index = repair_graded(folder.samples, retry_errors=True, counts=grade_counts)
        generation = Generation(self.benchmarks.run)
        numbers, left = generation.source(index.completed, attempt.settings)
        for pool in pools if left else ():
            rows = generation.generate(numbers, pool, attempt.settings)
            yield self._graded(rows, grading, (pool.needs.pool,), len(index.completed), index, folder)

    def _graded(
        self,
        samples: Dataset,
        grading: BlockGrader,
        pools: tuple[str, ...],
        done_before: int,
        index: FileIndex,
        folder: RunFolder,
    ) -> RowStream:
        graded = pipeline.grade(samples, grading, self.resources.ray_address)
        stage = Stage(pools, len(self.benchmarks.run.sample_specs), done_before, index.counts)
        return RowStream(graded, BlockWriter(folder.samples, counts=grade_counts), stage)


def _counts_of_graded(samples: pa.Table) -> dict[str, int]:
    return grade_counts(samples.filter(pa.array([not missing for missing in without_grade(samples)], pa.bool_())))
