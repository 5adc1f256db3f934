"""The evaluate command: all samples of every setting of one model are generated, judged, committed and measured."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from ray.data import Dataset

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.cluster import pipeline
from safechain_ray.cluster.pipeline import StreamSettings
from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool, make_plan
from safechain_ray.cluster.sample_index import interleave
from safechain_ray.cluster.session import cluster_address, ray_session, view_cluster, view_local
from safechain_ray.config import ResourcesConfig, RunConfig
from safechain_ray.config.parts import TrackerName
from safechain_ray.engines.api_wire import missing_key
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.metrics.flat import flat_safety
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.attempt import Attempt, RowStream, delete_checkpoints
from safechain_ray.runs.failed_verdicts import queued, requeue
from safechain_ray.runs.file_index import compact, repair_and_index, repair_verdicts, report_repairs
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.pools import pool_needs
from safechain_ray.runs.progress import RunReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import ResolvedRun, resolve
from safechain_ray.runs.run_manifest import measure_and_write
from safechain_ray.runs.staged import StagedSamples
from safechain_ray.runs.workload import OpenWorkload, Placement, Remaining, Workload, open_workload
from safechain_ray.runs.workload import finish as finish_workload
from safechain_ray.runs.workload import run as run_workload


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of an evaluation. `committed` counts the samples of this attempt, not those of earlier ones."""

    folder: RunFolder
    metrics: RunMetrics
    committed: int

    @property
    def errors(self) -> int:
        """Samples that ended with an error or are not there, and verdicts that are missing because a judge failed.

        A sample is not there if its file is quarantined at the end of the run.
        """
        absent = sum(max(0, setting.rows_expected - setting.rows) for setting in self.metrics.settings)
        return self.metrics.errors + absent


@dataclass(frozen=True)
class Generation:
    """The source of a resolved run's samples, and their generation by a model's pool."""

    run: ResolvedRun

    def source(self, finished: Collection[str], settings: StreamSettings) -> tuple[Dataset, int]:
        """The indices of the remaining samples, interleaved by setting, and their number."""
        numbers = self.run.sample_specs.numbers_without(set(finished))
        return pipeline.numbers_to_generate(interleave(self.run.sample_specs, numbers), settings.block_rows), len(
            numbers
        )

    def generate(self, rows: Dataset, pool: PlannedPool, settings: StreamSettings) -> Dataset:
        return pipeline.generate(rows, pool, self.run.model, self.run.family, self.run.sample_specs, settings)

    def staged(self, folder: RunFolder) -> StagedSamples:
        run = self.run
        return StagedSamples(
            folder,
            len(run.sample_specs),
            run.judges,
            self.source,
            run.votes,
            run.parts,
            {name: kind.benign_categories or () for name, kind in run.kinds.items()},
            self.generate,
            run.sample_specs.ids,
        )


@dataclass(frozen=True)
class EvaluationWorkload(Workload[Evaluation]):
    """All samples of a model's settings, judged. `retry_verdicts` judges samples again that a judge failed on."""

    config: RunConfig
    run: ResolvedRun
    retry_verdicts: bool = True

    @property
    def output(self) -> str:
        return self.config.output or f"runs/{self.run.short_name()}"

    @property
    def resources(self) -> ResourcesConfig:
        return self.config.resources

    @property
    def report_to(self) -> Collection[TrackerName]:
        return self.config.report_to

    def tracked_figures(self, result: Evaluation) -> Mapping[str, float]:
        return flat_safety(result.metrics)

    def open_record(self, folder: RunFolder) -> RunRecord:
        return RunRecord.opened(folder, self.config, self.run)

    def repair(self, folder: RunFolder, record: RunRecord, reporter: RunReporter) -> Remaining:
        index = repair_and_index(folder.samples, retry_errors=True, expected=self.run.sample_specs.ids())
        report_repairs(index, reporter)
        repair_verdicts(folder, chain(index.completed, queued(folder)), reporter)
        waiting = requeue(folder, [judge.name for judge in self.run.judges]) if self.retry_verdicts else set()
        if waiting:
            reporter.report(
                f"{len(waiting)} samples have a verdict that a judge failed to give. They are judged again. Nothing "
                "is generated again."
            )

        def streams(plan: Plan, attempt: Attempt) -> Iterator[RowStream]:
            attempt.checkpoint_rounds(folder.folder)
            yield from Generation(self.run).staged(folder).streams(plan, attempt)

        return Remaining(len(self.run.sample_specs), len(index.completed) - len(waiting), self.plan_on, streams)

    def plan_on(self, view: ClusterView) -> Plan:
        """How the run's pools are placed on this cluster. Raises PlanError where they can't be."""
        return make_plan(pool_needs(self.run, self.resources, view), view)

    def check_machine(self) -> None:
        check_key(self.run)

    def all_completed(self, total: int) -> str:
        return f"All {total} samples are finished already: no engine is started."

    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> Evaluation:
        repair_and_index(folder.samples, retry_errors=False)
        compact(folder.samples)  # before the run counts as finished: a crash in it repeats rows until the next attempt
        metrics = measure_and_write(folder, record.run_manifest)
        folder.write_card()
        record.measured(metrics.settings)
        folder.delete_stages()
        delete_checkpoints(folder.folder)
        return Evaluation(folder, metrics, committed)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An evaluation whose folder is locked and repaired."""

    workload: EvaluationWorkload
    opened: OpenWorkload[Evaluation]

    @property
    def config(self) -> RunConfig:
        return self.workload.config

    @property
    def run(self) -> ResolvedRun:
        return self.workload.run

    @property
    def folder(self) -> RunFolder:
        return self.opened.folder

    @property
    def completed(self) -> int:
        """Samples that earlier attempts finished."""
        return self.opened.remaining.completed

    @property
    def left(self) -> int:
        """Samples to do."""
        return self.opened.left


def evaluate(config: RunConfig, reporter: RunReporter, start_engine: StartEngine) -> Evaluation:
    """Run `config` to its end. It resumes where an earlier attempt was interrupted.

    Without `output` the folder is `runs/<model>-<hash>`. Raises the errors of `workload.run`, and InputError for a
    config that can't work.
    """
    return run_workload(EvaluationWorkload(config, resolve(config)), reporter, start_engine)


@contextmanager
def open_run(
    config: RunConfig, run: ResolvedRun, reporter: RunReporter, retry_verdicts: bool = True
) -> Iterator[OpenRun]:
    """Lock and repair the folder of a resolved run for the length of a block. Raises the errors of `open_workload`."""
    workload = EvaluationWorkload(config, run, retry_verdicts)
    with open_workload(workload, reporter) as opened:
        yield OpenRun(workload, opened)


def finish(
    opened: OpenRun, reporter: RunReporter, start_engine: StartEngine, placement: Placement | None = None
) -> Evaluation:
    """Do the remaining samples of an open run, and measure it. Raises the errors of `workload.finish`."""
    return finish_workload(opened.opened, reporter, start_engine, placement)


def measure_complete(opened: OpenRun, reporter: RunReporter) -> Evaluation:
    """Measure an open run without samples to do. Its trackers have received its figures."""
    reporter.report(opened.workload.all_completed(opened.completed))
    return opened.workload.measure(opened.folder, opened.opened.record, 0)


def check_key(run: ResolvedRun) -> None:
    """Check the key of a model behind an API where the workers have this environment. Raises InputError."""
    missing = missing_key(run.model) if isinstance(run.model, ApiEntry) else None
    if missing is not None:
        raise InputError(missing)


def plan_run(config: RunConfig) -> tuple[ResolvedRun, Plan]:
    """The plan of `evaluate` on this cluster. Raises the errors that `evaluate` raises before it starts."""
    workload = EvaluationWorkload(config, resolve(config))
    if cluster_address(config.resources.ray_address) is None:
        return workload.run, workload.plan_on(view_local())
    with ray_session(config.resources.ray_address):
        return workload.run, workload.plan_on(view_cluster(config.resources))


def measure_so_far(opened: OpenRun) -> None:
    """Write the metrics of the samples so far, for a run that was stopped at a deadline. The rest counts as missing."""
    if opened.completed:
        measure_and_write(opened.folder, opened.opened.record.run_manifest)
