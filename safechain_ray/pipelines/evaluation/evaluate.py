"""The main job: every setting of one model, generated, judged, committed and measured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.cluster.planner import ClusterView, Plan, make_plan
from safechain_ray.cluster.session import cluster_address, ray_session, view_cluster, view_local
from safechain_ray.cluster.streaming.shared_judges import SharedJudge
from safechain_ray.cluster.streaming.stream_control import StreamControl
from safechain_ray.config import RunConfig
from safechain_ray.engines.api_key import missing_key
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.pipelines.runs.attempt import attempt
from safechain_ray.pipelines.runs.compaction import compact
from safechain_ray.pipelines.runs.inventory import put_in_order, tell
from safechain_ray.pipelines.runs.job import GeneratingJob, Means
from safechain_ray.pipelines.runs.kept_rounds import forget_rounds
from safechain_ray.pipelines.runs.later_verdicts import put_verdicts_in_order
from safechain_ray.pipelines.runs.observer import Observer
from safechain_ray.pipelines.runs.outline import measure
from safechain_ray.pipelines.runs.output import held_output
from safechain_ray.pipelines.runs.pools import pool_needs
from safechain_ray.pipelines.runs.resolve import ResolvedRun, resolve
from safechain_ray.pipelines.runs.run_folder import RunFolder
from safechain_ray.pipelines.runs.run_record import RunRecord


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How an evaluation ended. `committed` counts the samples of this try, not those that earlier ones finished."""

    folder: RunFolder
    metrics: RunMetrics
    committed: int

    @property
    def errors(self) -> int:
        """Samples that ended with an error, and verdicts that are missing because a judge failed."""
        return self.metrics.errors


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sweep places a run: its plan, how it is steered, and the judges that are running already.

    Time in which these judges load, by `judges_load`, is no stall of the run.
    """

    plan: Plan
    control: StreamControl
    shared: tuple[SharedJudge, ...]
    judges_load: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose folder is put in order. `found` samples of an earlier try are finished."""

    config: RunConfig
    run: ResolvedRun
    folder: RunFolder
    record: RunRecord
    found: int

    @property
    def left(self) -> int:
        """Samples to do."""
        return len(self.run.worklist) - self.found


def evaluate(config: RunConfig, observer: Observer, start_engine: StartEngine) -> Evaluation:
    """Run `config` to its end, going on where an earlier try was cut off.

    Without `output` the folder is `runs/<model>-<hash>`. Raises InputError (PlanError and RunConflictError among it)
    and OutputHeldError before anything starts; EngineStartError, StallError and StorageError while it runs. What is
    committed is kept in any case.
    """
    with open_run(config, resolve(config), observer) as opened:
        return finish(opened, observer, start_engine)


@contextmanager
def open_run(config: RunConfig, run: ResolvedRun, observer: Observer) -> Iterator[OpenRun]:
    """The run with its folder put in order, held by this driver's lease for the length of a block.

    Raises RunConflictError for a folder of another run, OutputHeldError for one that another driver is at work in.
    """
    with held_output(config.output or f"runs/{run.short_name()}", config.resources, observer) as folder:
        record = RunRecord.opened(folder, config, run)
        inventory = put_in_order(folder.samples, retry_errors=True, expected=run.worklist.ids())
        tell(inventory, observer)
        put_verdicts_in_order(folder, inventory.finished, observer)
        yield OpenRun(config, run, folder, record, len(inventory.finished))


def finish(opened: OpenRun, observer: Observer, start_engine: StartEngine, place: Place | None = None) -> Evaluation:
    """Do what is left of an open run, and measure it. Without `place` it has the cluster to itself.

    Raises what `evaluate` raises once it runs, and PlanError.
    """
    run, folder, record, resources = opened.run, opened.folder, opened.record, opened.config.resources
    if not opened.left:
        observer.say(f"All {opened.found} samples are finished already: no engine is started.")
        return _measured(folder, record, 0)
    if cluster_address(resources.ray_address) is None and isinstance(run.model, ApiEntry):
        check_key(run.model)
    means = Means(resources, observer, record, start_engine)
    if place is not None:
        means = replace(means, control=place.control, shared=place.shared, judges_load=place.judges_load)
    committed = attempt(
        lambda logs: GeneratingJob(run, folder, means, logs),
        lambda view: plan_on(view, run, opened.config) if place is None else place.plan,
        means,
        opened.found,
        len(run.worklist),
    )
    return _measured(folder, record, committed)


def check_key(model: ApiEntry) -> None:
    """A local Ray has the driver's environment: a key that is missing here is missing there. Raises InputError."""
    missing = missing_key(model)
    if missing is not None:
        raise InputError(missing)


def plan_run(config: RunConfig) -> tuple[ResolvedRun, Plan]:
    """What `evaluate` would do on this cluster, without doing it. Raises what `evaluate` raises before it starts."""
    run = resolve(config)
    if cluster_address(config.resources.ray_address) is None:
        return run, plan_on(view_local(), run, config)
    with ray_session(config.resources.ray_address):
        return run, plan_on(view_cluster(config.resources), run, config)


def plan_on(view: ClusterView, run: ResolvedRun, config: RunConfig) -> Plan:
    """How the run's pools would stand on this cluster. Raises PlanError where they can't."""
    return make_plan(pool_needs(run, config.resources, view), view)


def measure_so_far(opened: OpenRun) -> None:
    """Leave the metrics of what there is, of a run that time did not suffice for: the rest counts as missing."""
    if opened.found:
        metrics = measure(opened.folder, opened.record.outline)
        opened.folder.folder.write_text("metrics.json", metrics.model_dump_json(indent=2) + "\n")


def _measured(folder: RunFolder, record: RunRecord, committed: int) -> Evaluation:
    put_in_order(folder.samples, retry_errors=False)
    compact(folder.samples)  # before the run counts as finished: a crash in it repeats rows until the next attempt
    metrics = measure(folder, record.outline)
    folder.folder.write_text("metrics.json", metrics.model_dump_json(indent=2) + "\n")
    folder.write_card()
    record.measured(metrics)
    folder.delete_stages()
    forget_rounds(folder.folder)
    return Evaluation(folder, metrics, committed)
