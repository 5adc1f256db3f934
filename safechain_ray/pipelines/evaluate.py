"""The main job: every setting of one model, generated, judged, committed and measured."""

from dataclasses import dataclass

from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.cluster.planner import ClusterView, Plan, make_plan
from safechain_ray.cluster.session import cluster_address, ray_session, view_cluster, view_local
from safechain_ray.config import RunConfig
from safechain_ray.engines.api import missing_key
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.pipelines.attempt import attempt
from safechain_ray.pipelines.job import GeneratingJob, Means
from safechain_ray.pipelines.kept_rounds import forget_rounds
from safechain_ray.pipelines.observer import Observer
from safechain_ray.pipelines.outline import measure
from safechain_ray.pipelines.pools import pool_needs
from safechain_ray.pipelines.resolve import ResolvedRun, resolve
from safechain_ray.pipelines.run_folder import Inventory, RunFolder, put_in_order
from safechain_ray.pipelines.run_record import RunRecord
from safechain_ray.storage import open_folder


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How an evaluation ended. `committed` counts the samples of this try, not those that earlier ones finished."""

    folder: RunFolder
    metrics: RunMetrics
    committed: int

    @property
    def errors(self) -> int:
        return sum(setting.outcomes["error"] for setting in self.metrics.settings)


def evaluate(config: RunConfig, observer: Observer, start_engine: StartEngine) -> Evaluation:
    """Run `config` to its end, going on where an earlier try was cut off.

    Raises InputError (PlanError and RunConflictError among it) before anything starts; EngineStartError, StallError
    and StorageError while it runs. What is committed is kept in any case.
    """
    run = resolve(config)
    folder = open_run_folder(config, run)
    record = RunRecord.opened(folder, config, run)
    inventory = put_in_order(folder.samples, retry_errors=True)
    tell(inventory, observer)
    total = len(run.worklist)
    if len(inventory.finished) == total:
        observer.say(f"All {total} samples are finished already: no engine is started.")
        return _measured(folder, record, 0)
    if cluster_address(config.resources.ray_address) is None:
        _check_key(run)
    means = Means(config.resources, observer, record, start_engine)
    committed = attempt(
        lambda logs: GeneratingJob(run, folder, means, logs),
        lambda view: plan_on(view, run, config),
        means,
        len(inventory.finished),
        total,
    )
    return _measured(folder, record, committed)


def _check_key(run: ResolvedRun) -> None:
    """A local Ray has the driver's environment: a key that is missing here is missing there."""
    missing = missing_key(run.model) if isinstance(run.model, ApiEntry) else None
    if missing is not None:
        raise InputError(missing)


def plan_run(config: RunConfig) -> tuple[ResolvedRun, Plan]:
    """What `evaluate` would do on this cluster, without doing it. Raises what `evaluate` raises before it starts."""
    run = resolve(config)
    if cluster_address(config.resources.ray_address) is None:
        return run, plan_on(view_local(), run, config)
    with ray_session(config.resources.ray_address):
        return run, plan_on(view_cluster(), run, config)


def plan_on(view: ClusterView, run: ResolvedRun, config: RunConfig) -> Plan:
    """How the run's pools would stand on this cluster. Raises PlanError where they can't."""
    return make_plan(pool_needs(run, config.resources, view), view)


def open_run_folder(config: RunConfig, run: ResolvedRun) -> RunFolder:
    """The run's folder, shown to be writable. Without `output` it is `runs/<model>-<hash of the config>`."""
    folder = open_folder(config.output or f"runs/{run.short_name()}")
    folder.check_writable()
    return RunFolder(folder)


def _measured(folder: RunFolder, record: RunRecord, committed: int) -> Evaluation:
    put_in_order(folder.samples, retry_errors=False)
    metrics = measure(folder, record.outline)
    folder.folder.write_text("metrics.json", metrics.model_dump_json(indent=2) + "\n")
    record.measured(metrics)
    folder.delete_stages()
    forget_rounds(folder.folder)
    return Evaluation(folder, metrics, committed)


def tell(inventory: Inventory, observer: Observer) -> None:
    """Say what had to be put in order in a folder of samples."""
    for name in inventory.broken_files:
        observer.say(f"{name} can't be read: it was moved to _broken/ beside it, its rows are done again.")
    if inventory.repeated:
        observer.say(f"{inventory.repeated} rows stood there twice after an earlier try; one of each is kept.")
    if inventory.retried_errors:
        observer.say(f"{inventory.retried_errors} rows had ended with an error and are tried again.")
