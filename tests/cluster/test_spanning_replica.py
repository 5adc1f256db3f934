"""A replica that spans two nodes survives the death of one of them."""

from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from safechain_ray.runs.progress import Snapshot
from safechain_ray.testing import Script
from tests.cluster.scripted_runs import Runner
from tests.lean_ray import LEAN


@pytest.mark.long
def test_a_replica_over_two_nodes_goes_on_when_its_own_node_dies_and_another_joins(tmp_path: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={**LEAN, "num_cpus": 4})
    nodes = {node.node_id: node for node in (cluster.add_node(num_cpus=4, num_gpus=1) for _ in range(2))}
    run = Runner(cluster.address, tmp_path / "run")
    killed = []

    def kill_its_node_at_half(snapshot: Snapshot) -> None:
        if snapshot.done >= 30 and not killed:
            (replica,) = (
                actor
                for actor in ray._private.state.actors().values()
                if "(GeneratorWorker)" in actor["ActorClassName"]
            )
            killed.append(replica["Address"]["NodeID"])
            cluster.remove_node(nodes[killed[0]], allow_graceful=False)
            cluster.add_node(num_cpus=4, num_gpus=1)

    run.on_update = kill_its_node_at_half
    try:
        done = run(
            Script(seconds=0.5),
            **{
                "model.engine.pipeline_parallel_size": 2,
                "judges": ["refusal-match"],
                "samples": 1,
                "sampling.temperature": 0,
                "resources.max_running": 4,
            },
        )
    finally:
        cluster.shutdown()

    assert killed
    assert done.committed == len({row["sample_id"] for row in run.rows}) == len(run.rows) == 60
