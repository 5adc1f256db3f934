"""The sweep command: the same settings for many models, each a run of its own, side by side where GPUs are free.

One driver has all runs, each in a thread of its own with its own streams. A failed run does not affect the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from safechain_ray.cluster.session import ray_session
from safechain_ray.commands.evaluate import OpenRun, measure_complete, open_run
from safechain_ray.commands.sweep.record import SWEEP_FILE, SweepRecord, SweptModel, swept_models
from safechain_ray.commands.sweep.schedule import Schedule, SweepOptions
from safechain_ray.config import RunConfig, SweepConfig
from safechain_ray.datasets.loading import PromptSet
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import SafechainError, UnknownNameError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder, no_run
from safechain_ray.runs.output import lock_output
from safechain_ray.runs.progress import PrefixedReporter, RunReporter
from safechain_ray.runs.resolve import prompts_of, resolve, resolve_names
from safechain_ray.runs.run_manifest import RunManifest, measure, metrics_of
from safechain_ray.storage import Folder, open_folder
from safechain_ray.trackers.base import check_trackers

ONE_RETRY = SweepOptions()


@dataclass(frozen=True, slots=True)
class SweepDone:
    """Result of a sweep. `metrics` are those of the models with samples, in the sweep's order.

    `models` that the command left out keep their earlier status, and do not count in the properties.
    """

    folder: Folder
    models: tuple[SweptModel, ...]
    metrics: tuple[RunMetrics, ...]

    @property
    def asked_for(self) -> tuple[SweptModel, ...]:
        return tuple(model for model in self.models if not model.left_out)

    @property
    def failed(self) -> bool:
        return any(model.status == "failed" for model in self.asked_for)

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Models that were still queued at the deadline."""
        return tuple(model.model for model in self.asked_for if model.status == "queued")

    @property
    def errors(self) -> int:
        return sum(model.errors_in_samples for model in self.asked_for)


def sweep(
    config: SweepConfig,
    reporter: RunReporter,
    start_engine: StartEngine,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    options: SweepOptions = ONE_RETRY,
) -> SweepDone:
    """Evaluate the models. It resumes where an earlier attempt was interrupted.

    `only` and `skip` name models of the sweep. Raises InputError for a config that can't work in any run, before the
    first starts. A run that fails later is recorded, and the others continue.
    """
    runs = {run.model.short_name: run for run in config.runs()}
    for name in (*only, *skip):
        if name not in runs:
            raise UnknownNameError("model of the sweep", name, runs)
    check_trackers(config.report_to)
    for run in runs.values():
        resolve_names(run)
    prompts = prompts_of(next(iter(runs.values())))  # the same for all models, so read once
    wanted = {name: run for name, run in runs.items() if (not only or name in only) and name not in skip}
    with lock_output(config.output, config.resources, reporter) as locked:
        record = SweepRecord.opened(locked.folder, runs, wanted)
        try:
            waiting = _opened(wanted, prompts, record, reporter, start_engine)
            if waiting:
                reporter.report(f"{len(waiting)} of {len(wanted)} models have samples to do.")
                with ray_session(config.resources.ray_address, reporter.report) as logs:
                    Schedule(waiting, record, reporter, start_engine, logs, options).run()
        finally:
            with suppress(
                SafechainError
            ):  # the store is silent, or locked by another driver: the first error matters more
                record.end()
    folder = open_folder(config.output)
    results = _results(folder, record.models)
    return SweepDone(folder, results.models, tuple(results.metrics.values()))


@dataclass(frozen=True, slots=True)
class SweepResults:
    """All models of a sweep, and the metrics of those with samples by the folder of their run."""

    models: tuple[SweptModel, ...]
    metrics: Mapping[str, RunMetrics]


def read_sweep(uri: str) -> SweepResults:
    """The results in a sweep's folder. Raises InputError where there is no sweep."""
    folder = open_folder(uri)
    if not folder.exists(SWEEP_FILE):
        raise no_run(folder, "sweep")
    return _results(folder, tuple(swept_models(folder).values()))


def is_sweep(uri: str) -> bool:
    return open_folder(uri).exists(SWEEP_FILE)


def _opened(
    runs: Mapping[str, RunConfig],
    prompts: Mapping[str, PromptSet],
    record: SweepRecord,
    reporter: RunReporter,
    start_engine: StartEngine,
) -> dict[str, OpenRun]:
    """The runs with samples to do. Complete runs are measured, and runs that can't be opened have failed.

    Each folder is locked only for this check, and again while its run is running.
    """
    waiting = {}
    for name, run in runs.items():
        named = PrefixedReporter(reporter, name)
        try:
            with open_run(run, resolve(run, prompts), named) as opened:
                if opened.left:
                    waiting[name] = opened
                    record.queued(name)
                else:
                    record.done(name, measure_complete(opened, named).errors)
        except SafechainError as error:
            reporter.report(f"{name} can't be evaluated: {error}")
            record.failed(name, str(error))
    return waiting


def _results(folder: Folder, models: Iterable[SweptModel]) -> SweepResults:
    """The results of all models. An incomplete run has metrics over its samples so far; the rest counts as missing.

    A model whose folder is damaged counts as failed, so that it does not hide the others.
    """
    listed, found = [], {}
    for model in models:
        try:
            metrics = _metrics_of(model, folder / model.folder)
        except SafechainError as error:
            listed.append(model.model_copy(update={"status": "failed", "error": str(error)}))
            continue
        listed.append(model)
        if metrics is not None:
            found[model.folder] = metrics
    return SweepResults(tuple(listed), found)


def _metrics_of(model: SweptModel, folder: Folder) -> RunMetrics | None:
    if model.status == "done" and folder.exists("metrics.json"):
        return metrics_of(folder.uri)
    run = RunFolder(folder)
    run_file = run.read_run()
    if run_file is None or not run.samples.list_files(".parquet"):
        return None
    return measure(run, RunManifest.of(run_file))
