"""One try at a job on a cluster: join it or start a local one, plan, run the stages, note in run.json how it ended."""

from collections.abc import Callable
from pathlib import Path

from safechain_ray.cluster.planner import ClusterView, Plan
from safechain_ray.cluster.session import cluster_address, ray_session, view_cluster, view_local
from safechain_ray.cluster.streaming.stream_control import StreamStoppedError
from safechain_ray.errors import SafechainError
from safechain_ray.pipelines.runs.job import Means, Work


def attempt(
    make_job: Callable[[Path], Work],
    plan_on: Callable[[ClusterView], Plan],
    means: Means,
    found: int,
    total: int,
    kind: str = "samples",
) -> int:
    """Do what is left of `total` rows, of which `found` are finished; gives the number committed.

    `make_job` gets the folder of the engines' logs; `kind` is what the rows are. Raises PlanError before a local Ray
    starts, and what a job raises.
    """
    address, record, observer = means.resources.ray_address, means.record, means.observer
    if cluster_address(address) is None:
        plan_on(view_local())
    with ray_session(address, observer.say) as log_folder:
        view = view_cluster(means.resources)
        plan = plan_on(view)
        for note in plan.notes:
            observer.say(note)
        record.started(plan, view, found)
        job = make_job(log_folder)
        observer.say(f"{total - found} of {total} {kind} to do. Engine logs: {log_folder}")
        status = "interrupted"
        try:
            committed = job.run_stages(plan)
            status = "done"
        except StreamStoppedError:
            raise
        except Exception as error:
            status = f"failed: {error if isinstance(error, SafechainError) else repr(error)}"
            raise
        finally:
            record.ended(status, job.progress)
    return committed
