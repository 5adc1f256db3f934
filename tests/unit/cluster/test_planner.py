"""The plan of a run's pools on a cluster: side by side, staged, or refused with a table and what to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.cluster.planner import STREAM_CPUS, ClusterView, Node, Plan, PoolNeeds, make_plan
from safechain_ray.errors import PlanError

LAPTOP = ClusterView((Node("laptop", cpus=16, gpus=0, memory=24),))
GPU_NODE = Node("gpu-node", cpus=64, gpus=8, memory=1000)
MODEL = PoolNeeds("model", "org/r1", "cuda", cpus=2, gpus=1, memory=2, wanted=None, useful=100)
GUARD = PoolNeeds("guard", "org/guard", "cuda", cpus=2, gpus=1, memory=2)


def changed(pool: PoolNeeds, **fields: object) -> PoolNeeds:
    return PoolNeeds(**{name: getattr(pool, name) for name in PoolNeeds.__slots__} | fields)


def on_cpu(pool: PoolNeeds, **fields: object) -> PoolNeeds:
    return changed(pool, **{"device": "cpu", "gpus": 0, "wanted": 1, **fields})


def replicas(plan: Plan) -> list[dict[str, int]]:
    return [{pool.needs.pool: pool.replicas for pool in stage} for stage in plan.stages]


def refusal(pools: list[PoolNeeds], view: ClusterView) -> str:
    with pytest.raises(PlanError) as refused:
        make_plan(pools, view)
    return str(refused.value)


def test_a_gpu_pool_on_a_cluster_without_gpus_is_refused_with_a_table_and_two_fixes():
    text = refusal([MODEL, on_cpu(GUARD)], LAPTOP)
    assert text.splitlines()[1:-1] == [
        "                                 GPUs  CPUs  RAM GB",
        "  needs: model (org/r1)             1     2     2.0",
        "  needs: reading and committing     0     1     0.0",
        "  has: node laptop                  0    16    24.0",
    ]
    assert "--ray-address" in text
    assert "--device cpu" in text


def test_engines_on_cpus_share_no_gpu_of_their_machine():
    """They are staged where memory holds one of them alone, also where one GPU is idle."""
    machine = ClusterView((Node("one-gpu", cpus=16, gpus=1, memory=3),))
    assert replicas(make_plan([on_cpu(MODEL), on_cpu(GUARD)], machine)) == [{"model": 1}, {"guard": 1}]
    assert replicas(make_plan([changed(MODEL, memory=2), on_cpu(GUARD)], machine)) == [{"model": 1}, {"guard": 1}]


def test_gpus_that_ray_was_started_without_are_named():
    view = ClusterView(LAPTOP.nodes, unused_gpus=2)
    text = refusal([MODEL], view)
    assert text.splitlines()[0].endswith(" This machine has 2 GPUs, but Ray was started without them.")
    assert text.splitlines()[-1] == "Fix: start Ray with --num-gpus=2."


def test_model_and_judge_stand_side_by_side_where_both_fit():
    plan = make_plan([on_cpu(MODEL), on_cpu(GUARD)], LAPTOP)
    assert replicas(plan) == [{"model": 1, "guard": 1}]
    assert plan.notes == ()


def test_replicas_of_the_model_take_all_gpus_that_the_judge_leaves():
    assert replicas(make_plan([MODEL, GUARD], ClusterView((GPU_NODE,)))) == [{"model": 7, "guard": 1}]
    assert replicas(make_plan([changed(MODEL, gpus=2), GUARD], ClusterView((GPU_NODE,)))) == [{"model": 3, "guard": 1}]


def test_no_more_replicas_than_have_work():
    assert replicas(make_plan([changed(MODEL, useful=3), GUARD], ClusterView((GPU_NODE,)))) == [
        {"model": 3, "guard": 1}
    ]


def test_pools_that_cannot_stand_side_by_side_are_staged_with_a_note():
    plan = make_plan([MODEL, GUARD], ClusterView((Node("n", cpus=8, gpus=1, memory=64),)))
    assert replicas(plan) == [{"model": 1}, {"guard": 1}]
    assert "one after the other" in plan.notes[0]


def test_each_stage_has_the_whole_cluster():
    view = ClusterView((Node("n", cpus=64, gpus=4, memory=640),))
    plan = make_plan([changed(MODEL, gpus=2), changed(GUARD, gpus=4)], view)
    assert replicas(plan) == [{"model": 2}, {"guard": 1}]


def test_wanted_replicas_that_do_not_fit_are_refused_with_what_fits():
    text = refusal([changed(MODEL, wanted=9), GUARD], ClusterView((GPU_NODE,)))
    assert "9 replicas of model were requested, 7 fit" in text
    assert "has: node gpu-node" in text
    assert text.endswith("Fix: request fewer replicas, or add nodes.")


def test_wanted_replicas_of_a_judge_go_before_what_the_model_fills_up():
    assert replicas(make_plan([MODEL, changed(GUARD, wanted=3)], ClusterView((GPU_NODE,)))) == [
        {"model": 5, "guard": 3}
    ]


@pytest.mark.parametrize(
    ("pool", "fix"),
    [
        (changed(MODEL, gpus=9), "lower tensor_parallel_size or pipeline_parallel_size, or add nodes with more GPUs"),
        (changed(MODEL, cpus=100), "add nodes with more memory or CPUs"),
        (on_cpu(MODEL, memory=2000), "add nodes with more memory or CPUs"),
    ],
)
def test_the_fix_is_for_what_is_short(pool: PoolNeeds, fix: str):
    assert f"Fix: {fix}" in refusal([pool], ClusterView((GPU_NODE,)))


def test_a_replica_larger_than_any_node_is_spread_by_the_ray_executor():
    view = ClusterView((GPU_NODE, GPU_NODE))
    ((spread,),) = make_plan([changed(MODEL, gpus=16, memory=32, cpus=16)], view).stages
    ((whole,),) = make_plan([changed(MODEL, gpus=8)], view).stages
    assert (spread.replicas, spread.executor) == (1, "ray")
    assert (whole.replicas, whole.executor) == (2, "mp")


def test_a_replica_that_a_node_could_hold_does_not_straddle_two():
    view = ClusterView((Node("a", 32, 4, 500), Node("b", 32, 4, 500)))
    assert replicas(make_plan([changed(MODEL, gpus=3)], view)) == [{"model": 2}]


def test_engines_leave_a_cpu_to_the_tasks_that_read_and_commit():
    assert replicas(make_plan([MODEL], ClusterView((Node("n", cpus=8, gpus=8, memory=640),)))) == [{"model": 3}]
    assert "reading and committing" in refusal([on_cpu(MODEL)], ClusterView((Node("n", cpus=2, gpus=0, memory=64),)))


def test_cpu_engines_keep_off_the_gpu_nodes_while_another_has_room():
    view = ClusterView((GPU_NODE, Node("cpu-node", cpus=8, gpus=0, memory=64)))
    assert replicas(make_plan([changed(MODEL, cpus=8), on_cpu(GUARD)], view)) == [{"model": 8, "guard": 1}]


def test_a_replica_takes_the_node_where_it_leaves_least_over():
    view = ClusterView((Node("four", 16, 4, 500), Node("three", 16, 3, 500)))
    plan = make_plan([changed(MODEL, gpus=3), changed(GUARD, gpus=2, wanted=2)], view)
    assert replicas(plan) == [{"model": 1, "guard": 2}]


def test_an_autoscaler_is_asked_for_the_node_that_is_missing():
    plan = make_plan([MODEL, on_cpu(GUARD)], ClusterView(LAPTOP.nodes, autoscales=True))
    assert replicas(plan) == [{"model": 1, "guard": 1}]
    assert "No node fits a replica of model yet: the autoscaler is asked for one." in plan.notes


def test_an_autoscaler_is_asked_for_all_replicas_that_are_wanted():
    pools = [changed(MODEL, wanted=20), GUARD]
    for nodes in (LAPTOP.nodes, (GPU_NODE,)):
        plan = make_plan(pools, ClusterView(nodes, autoscales=True))
        assert replicas(plan) == [{"model": 20, "guard": 1}]
        assert "autoscaler is asked for" in plan.notes[0]


node = st.builds(
    Node, st.just("n"), cpus=st.integers(0, 32), gpus=st.sampled_from([0, 0, 1, 2, 4, 8]), memory=st.integers(1, 64)
)
needs = st.builds(
    PoolNeeds,
    pool=st.uuids().map(str),
    engine=st.just("e"),
    device=st.just("cuda"),
    cpus=st.integers(1, 8),
    gpus=st.integers(0, 9),
    memory=st.integers(1, 64),
    wanted=st.none() | st.integers(1, 4),
    useful=st.integers(1, 12),
)


@given(st.lists(needs, min_size=1, max_size=3), st.lists(node, min_size=1, max_size=4))
def test_a_plan_never_takes_more_than_the_nodes_have(pools: list[PoolNeeds], nodes: list[Node]):
    try:
        plan = make_plan(pools, ClusterView(tuple(nodes)))
    except PlanError:
        return
    assert [pool.needs for stage in plan.stages for pool in stage] == pools
    for stage in plan.stages:
        for has, need in (
            (sum(node.gpus for node in nodes), sum(pool.needs.gpus * pool.replicas for pool in stage)),
            (sum(node.cpus for node in nodes), sum(pool.needs.cpus * pool.replicas for pool in stage) + STREAM_CPUS),
            (sum(node.memory for node in nodes), sum(pool.needs.memory * pool.replicas for pool in stage)),
        ):
            assert need <= has + 1e-9
        for pool in stage:
            assert pool.replicas >= (pool.needs.wanted or 1)
            assert pool.replicas <= (pool.needs.wanted or pool.needs.useful)
            on_one_node = any(node.gpus >= pool.needs.gpus for node in nodes)
            assert pool.executor == ("mp" if on_one_node or pool.needs.gpus < 2 else "ray")


@given(st.lists(needs, min_size=1, max_size=3), st.lists(node, min_size=1, max_size=4))
def test_an_autoscaling_cluster_is_never_refused(pools: list[PoolNeeds], nodes: list[Node]):
    plan = make_plan(pools, ClusterView(tuple(nodes), autoscales=True))
    assert all(pool.replicas >= (pool.needs.wanted or 1) for stage in plan.stages for pool in stage)
