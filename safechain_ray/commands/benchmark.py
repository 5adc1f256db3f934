"""Reasoning benchmarks: every problem put to one model, and each answer graded in the same stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from ray.data import Dataset

from safechain_ray.benchmarks.sandbox import require_sandbox
from safechain_ray.cluster import pipeline
from safechain_ray.cluster.planner import ClusterView, Plan, make_plan
from safechain_ray.cluster.session import cluster_address
from safechain_ray.cluster.stage import Stage
from safechain_ray.cluster.workers.grader import Grading, SharedProblems, check_sandboxes, grade_counts
from safechain_ray.cluster.workers.writer import Commit
from safechain_ray.commands.benchmark_figures import measure_benchmarks
from safechain_ray.commands.evaluate import Generation, check_key
from safechain_ray.commands.regrade import drop_old_grades, outdated
from safechain_ray.commands.resolve_benchmark import ResolvedBenchmarks, resolve_benchmarks
from safechain_ray.config import BenchmarkConfig, ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.runs.attempt import Attempt, RowStream
from safechain_ray.runs.compaction import compact
from safechain_ray.runs.file_index import Inventory, RowKind, put_in_order, tell
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.kept_rounds import forget_rounds
from safechain_ray.runs.pools import pool_needs
from safechain_ray.runs.progress import Observer
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.workload import Remaining, Workload, run
from safechain_ray.types.graded import GRADED_SCHEMA, without_grade

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
    """Run benchmarks to their end. They resume where an earlier attempt was interrupted.

    Leaves samples with their grades, and metrics.json. Raises what `workload.run` raises, and SandboxError before a
    model loads where code would have to be run without a sandbox.
    """
    return run(BenchmarkWorkload(config, resolve_benchmarks(config)), observer, start_engine)


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

    def repair(self, folder: RunFolder, record: RunRecord, observer: Observer) -> Remaining:
        benchmarks = self.benchmarks
        is_local = cluster_address(self.resources.ray_address) is None
        if is_local and outdated(record, benchmarks.grader_versions).intersection(benchmarks.run_code):
            require_sandbox()  # before grades are removed
        old_grades = drop_old_grades(folder, record, benchmarks.grader_versions)
        if old_grades:
            observer.say(
                f"{old_grades} answers were graded by an earlier version of their grader and are graded again."
            )
        inventory = graded_in_order(folder.samples, retry_errors=True, expected=benchmarks.run.worklist.ids())
        tell(inventory, observer)
        if len(inventory.unfinished) > old_grades:
            failed = len(inventory.unfinished) - old_grades
            observer.say(f"{failed} answers could not be graded before and are graded again.")
        total = len(benchmarks.run.worklist)

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
        forget_rounds(folder.folder)
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
        grading = Grading(problems, attempt.settings.tally)
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
        grading: Grading,
        pools: tuple[str, ...],
        done_before: int,
        there: Inventory,
        folder: RunFolder,
    ) -> RowStream:
        graded = pipeline.grade(samples, grading, self.resources.ray_address)
        stage = Stage(pools, len(self.benchmarks.run.worklist), done_before, there.counts)
        return RowStream(graded, Commit(folder.samples, counts=grade_counts), stage)


def _counts_of_graded(samples: pa.Table) -> dict[str, int]:
    return grade_counts(samples.filter(pa.array([not missing for missing in without_grade(samples)], pa.bool_())))
