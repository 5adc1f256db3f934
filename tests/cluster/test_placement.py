"""Replicas of several GPUs on a cluster whose nodes have one (logical) GPU each, and replicas that fill a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from safechain_ray.cluster.session import ray_session, read_smallest_memory, view_cluster, view_free
from safechain_ray.commands.evaluate import plan_run
from safechain_ray.config import ClusterConfig
from safechain_ray.errors import PlanError
from tests.cluster.scripted_runs import Runner
from tests.lean_ray import LEAN


@pytest.fixture(scope="module")
def gpu_cluster() -> Iterator[str]:
    """Three nodes, two of them with a GPU, each of another kind; one driver for all runs."""
    cluster = Cluster(initialize_head=True, head_node_args={**LEAN, "num_cpus": 4})
    for kind in ("L4", "H100"):
        cluster.add_node(num_cpus=4, num_gpus=1, resources={f"accelerator_type:{kind}": 1})
    with ray_session(cluster.address):
        yield cluster.address
    cluster.shutdown()


@pytest.fixture
def on_gpus(gpu_cluster: str, tmp_path: Path) -> Runner:
    return Runner(gpu_cluster, tmp_path / "run")


def test_a_replica_larger_than_a_node_stands_on_a_placement_group(on_gpus: Runner) -> None:
    flags = {
        "model.engine.pipeline_parallel_size": 2,
        "judges": ["refusal-match"],
        "samples": 1,
        "sampling.temperature": 0,
    }

    done = on_gpus(**flags)

    _, plan = plan_run(on_gpus.config(**flags))
    ((pool,),) = plan.stages
    assert (pool.needs.device, pool.needs.gpus, pool.executor, pool.replicas) == ("cuda", 2, "ray", 1)
    assert done.committed == len(on_gpus.rows) == 60


def test_a_replica_larger_than_a_node_gives_its_gpus_back_to_the_judge_that_follows(on_gpus: Runner) -> None:
    flags = {"model.engine.pipeline_parallel_size": 2, "judges": ["demo-guard"], "samples": 1}

    done = on_gpus(**flags, **{"sampling.temperature": 0, "resources.stall_timeout_minutes": 1})

    assert "one after the other" in " ".join(on_gpus.reporter.sentences)
    assert done.committed == len(on_gpus.rows) == 60


def test_the_model_fills_the_gpus_that_its_judge_leaves(on_gpus: Runner) -> None:
    _, plan = plan_run(on_gpus.config(samples=20))
    assert {pool.needs.pool: pool.replicas for pool in plan.stages[0]} == {"model": 1, "demo-guard": 1}

    _, alone = plan_run(on_gpus.config(samples=20, judges=["refusal-match"]))
    assert {pool.needs.pool: pool.replicas for pool in alone.stages[0]} == {"model": 2}


def test_engines_stand_on_gpus_of_the_kind_that_is_named_and_on_no_others(on_gpus: Runner) -> None:
    flags = {"judges": ["refusal-match"], "resources.accelerator": "H100"}
    _, plan = plan_run(on_gpus.config(samples=20, **flags))
    assert {pool.needs.pool: pool.replicas for pool in plan.stages[0]} == {"model": 1}
    with pytest.raises(PlanError, match="Only GPUs that Ray calls 'L40S' count here"):
        plan_run(on_gpus.config(**{**flags, "resources.accelerator": "L40S", "resources.device": "cuda"}))

    assert on_gpus(samples=1, **flags).committed == 60


def test_gpu_memory_is_read_on_each_node_or_follows_from_its_accelerator_type(gpu_cluster: str) -> None:
    here = read_smallest_memory()  # the same on all nodes, which are on this machine
    config = ClusterConfig(ray_address=gpu_cluster)
    with ray_session(gpu_cluster):
        nodes = view_cluster(config).nodes
        free = view_free(config).nodes
        given = view_cluster(ClusterConfig(ray_address=gpu_cluster, gpu_memory=48)).nodes
    memory = [node.gpu_memory for node in nodes if node.gpus]
    assert sorted(memory) == ([here, here] if here else [24, 80])
    assert [node.gpu_memory for node in free] == [node.gpu_memory for node in nodes]
    assert {node.gpu_memory for node in given} == {None}
