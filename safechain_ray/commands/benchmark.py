"""Reasoning benchmarks: every problem put to one model, and each answer graded in the same stream.

Regrading after a change of a grader's version, so that a run never mixes grades of two versions.

A grader's version rises when the same text may get another grade. A rerun of the command first regrades the stored
answers. Nothing is generated again.
"""

from collections.abc import Iterator, Mapping, Set
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
from safechain_ray.commands.evaluate import Generation, check_key
from safechain_ray.commands.resolve_benchmark import ResolvedBenchmarks, measure_benchmarks, resolve_benchmarks
from safechain_ray.config import BenchmarkConfig, ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.runs.attempt import Attempt, RowStream, delete_checkpoints
from safechain_ray.runs.file_index import FileIndex, RowKind, compact, repair_and_index, tell
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
    """Remove the grades that another version of their grader gave; returns how many.

    `versions` go by benchmark. The record gets the new versions last, so that a removal that was cut off is done
    again. Removing a grade twice does no harm.
    """
    old = outdated(record, versions)
    if not old:
        return 0
    repair_and_index(folder.samples, retry_errors=False, kind=RowKind(GRADED_SCHEMA), unfinished=without_grade)
    dropped = sum(_drop(folder.samples, name, old) for name in folder.samples.list_files(".parquet"))
    record.graded_by(versions)
    return dropped


def _drop(samples: Folder, name: str, benchmarks: Set[str]) -> int:
    """Rewrite one file without the grades of these benchmarks: the new file is there before the old one goes."""
    table = samples.read_parquet(name)
    graded = pc.is_valid(pc.struct_field(table["grade"], "correct"))
    stale = pc.and_(graded, pc.is_in(table["dataset"], pa.array(sorted(benchmarks)))).to_pylist()
    if not any(stale):
        return 0
    grades = [
        grade | {"correct": None, "error": REASON} if is_stale else grade
        for grade, is_stale in zip(table["grade"].to_pylist(), stale, strict=True)
    ]
    place = table.schema.get_field_index("grade")
    rest = table.set_column(place, GRADED_SCHEMA.field("grade"), arrow_array(grades, GRADE_TYPE))
    samples.write_parquet(f"part-{short_hash(REASON, name)}.parquet", rest)
    samples.delete(name)
    return sum(stale)


graded_in_order = partial(repair_and_index, kind=RowKind(GRADED_SCHEMA), unfinished=without_grade)

"""`repair_and_index` of a benchmark's samples: those whose grading failed are told as unfinished."""


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


def benchmark(config: BenchmarkConfig, reporter: RunReporter, start_engine: StartEngine) -> Benchmarked:
    """Run benchmarks to their end. They resume where an earlier attempt was interrupted.

    Leaves samples with their grades, and metrics.json. Raises what `workload.run` raises, and SandboxError before a
    model loads where code would have to be run without a sandbox.
    """
    return run(BenchmarkWorkload(config, resolve_benchmarks(config)), reporter, start_engine)


@dataclass(frozen=True)
class BenchmarkWorkload(Workload[Benchmarked]):
    """All answers to the problems, graded. Answers that wait for their grade come first."""

    config: BenchmarkConfig
    benchmarks: ResolvedBenchmarks

    decisions = ("correct", "wrong")

    @property
    def output(self) -> str:
        return self.config.output or f"runs/{self.benchmarks.short_name()}"

    @property
    def resources(self) -> ResourcesConfig:
        return self.config.resources

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
        inventory = graded_in_order(folder.samples, retry_errors=True, expected=benchmarks.run.sample_specs.ids())
        tell(inventory, reporter)
        if len(inventory.unfinished) > old_grades:
            failed = len(inventory.unfinished) - old_grades
            reporter.report(f"{failed} answers could not be graded before and are graded again.")
        total = len(benchmarks.run.sample_specs)

        def plan_on(view: ClusterView) -> Plan:
            if len(inventory.finished) == total:
                return Plan(((),))  # grading takes what CPUs there are, and no engine
            return make_plan(pool_needs(benchmarks.run, self.resources, view), view)

        def streams(plan: Plan, attempt: Attempt) -> Iterator[RowStream]:
            attempt.checkpoint_rounds(folder.folder)
            return self._streams(plan, attempt, folder)

        return Remaining(total, len(inventory.finished) - len(inventory.unfinished), plan_on, streams)

    def check_machine(self) -> None:
        if self.benchmarks.run_code:
            require_sandbox()
        check_key(self.benchmarks.run)

    def all_completed(self, total: int) -> str:
        return f"All {total} samples are graded already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> Benchmarked:
        graded_in_order(folder.samples, retry_errors=False)
        compact(folder.samples)
        metrics = measure_benchmarks(self.benchmarks, folder, self.config.told_ks)
        folder.folder.write_text("metrics.json", metrics.model_dump_json(indent=2) + "\n")
        folder.write_card()
        record.came_to(metrics.benchmarks)
        delete_checkpoints(folder.folder)
        return Benchmarked(folder, metrics, committed)

    def _streams(self, plan: Plan, attempt: Attempt, folder: RunFolder) -> Iterator[RowStream]:
        """Grade the answers that wait for it, then generate the missing ones and grade each as it comes."""
        ((*pools,),) = plan.stages
        if self.benchmarks.run_code:
            check_sandboxes()
        problems = {
            name: SharedProblems(entry.grader, self.benchmarks.problems[name])
            for name, entry in self.benchmarks.entries.items()
        }
        grading = BlockGrader(problems, attempt.settings.progress_tracker)
        there = graded_in_order(folder.samples, retry_errors=True, counts=_counts_of_graded)
        if there.unfinished:
            rows = pipeline.stored_samples(folder.samples, there.unfinished, attempt.settings.block_rows)
            yield self._graded(rows, grading, (), len(there.finished) - len(there.unfinished), there, folder)
            there = graded_in_order(folder.samples, retry_errors=True, counts=grade_counts)
        generation = Generation(self.benchmarks.run)
        numbers, left = generation.source(there.finished, attempt.settings)
        for pool in pools if left else ():
            rows = generation.generate(numbers, pool, attempt.settings)
            yield self._graded(rows, grading, (pool.needs.pool,), len(there.finished), there, folder)

    def _graded(
        self,
        samples: Dataset,
        grading: BlockGrader,
        pools: tuple[str, ...],
        done_before: int,
        there: FileIndex,
        folder: RunFolder,
    ) -> RowStream:
        graded = pipeline.grade(samples, grading, self.resources.ray_address)
        stage = Stage(pools, len(self.benchmarks.run.sample_specs), done_before, there.counts)
        return RowStream(graded, BlockWriter(folder.samples, counts=grade_counts), stage)


def _counts_of_graded(samples: pa.Table) -> dict[str, int]:
    return grade_counts(samples.filter(pa.array([not missing for missing in without_grade(samples)], pa.bool_())))
