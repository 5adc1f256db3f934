"""Which runs of a sweep start now, and which may have one more replica."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.cluster.planner import STREAM_CPUS, ClusterView, Node, Plan, PlannedPool, PoolNeeds, fits
from safechain_ray.cluster.scheduler_policy import RunningRun, SchedulerDecision, WaitingRun, schedule_runs

MODEL = PoolNeeds("model", "org/r1", "cuda", cpus=2, gpus=1, memory=2, wanted=None, useful=100)
GUARD = PoolNeeds("guard", "org/guard", "cuda", cpus=2, gpus=1, memory=2)
CLIENT = PoolNeeds("model", "api", "cpu", cpus=0.25, gpus=0, memory=0.5)
ON_CPU = PoolNeeds("model", "org/tiny", "cpu", cpus=2, gpus=0, memory=3)
NODE = Node("gpu-node", cpus=64, gpus=8, memory=1000)
ONE_NODE = ClusterView((NODE,))


def waits(name: str, gpus: int = 1, work: float = 1.0, **fields: object) -> WaitingRun:
    return WaitingRun(name, (replace(MODEL, gpus=gpus, **fields),), work)


def works(name: str, gpus: int = 1, replicas: int = 1, work: float = 1.0, useful: int = 100) -> RunningRun:
    """A run whose replicas have their place."""
    needs = replace(MODEL, gpus=gpus, useful=useful)
    return RunningRun(name, Plan(((PlannedPool(needs, 1),),)), replicas, {"model": replicas}, work)


def decide(
    *waiting: WaitingRun, running: tuple[RunningRun, ...] = (), free: ClusterView = ONE_NODE
) -> SchedulerDecision:
    return schedule_runs(waiting, running, free, at_once=16)


def with_free(gpus: float) -> ClusterView:
    return ClusterView((replace(NODE, gpus=gpus),))


def test_the_largest_start_first_and_smaller_ones_fill_the_room_that_they_leave():
    decision = decide(waits("1.5B"), waits("70B", 4), waits("32B", 2), waits("another 70B", 4))
    assert set(decision.starts) == {"70B", "another 70B"}
    decision = decide(waits("1.5B"), waits("70B", 4), waits("32B", 2), waits("405B", 16))
    assert set(decision.starts) == {"70B", "32B", "1.5B"}


def test_among_equally_large_ones_the_one_with_most_to_do_starts_first():
    decision = decide(waits("little", work=1), waits("much", work=9), free=with_free(1))
    assert set(decision.starts) == {"much"}


def test_room_that_is_left_goes_to_whoever_has_most_to_do_for_each_replica():
    decision = decide(waits("70B", 4, work=70), waits("7B", work=21), waits("1.5B", work=1))
    assert decision.replicas == {"7B": 3}
    decision = decide(waits("7B", work=21), waits("8B", work=8), waits("1.5B", work=1.5))
    assert decision.replicas == {"7B": 5, "8B": 2}


def test_a_small_run_starts_where_ray_can_not_put_it_in_the_place_of_a_larger_one():
    """The 70B needs a whole node of two, and has none if a judge is put on one and a 32B on the other."""
    nodes = (replace(NODE, gpus=4), replace(NODE, gpus=4))
    two = ClusterView(nodes)
    first = schedule_runs([waits("32B", 2), waits("70B", 4)], (), two, 16, reserved=[GUARD])
    assert (set(first.starts), first.replicas) == ({"70B"}, {})

    coming_up = replace(works("70B", 4, useful=1), placed={})
    with_judge = ClusterView((replace(NODE, gpus=3, gpus_in_all=4), nodes[1]))
    assert decide(waits("32B", 2), running=(coming_up,), free=with_judge).starts == {}

    placed = ClusterView((replace(NODE, gpus=3, gpus_in_all=4), replace(NODE, gpus=0, gpus_in_all=4)))
    assert set(decide(waits("32B", 2), running=(works("70B", 4, useful=1),), free=placed).starts) == {"32B"}


def test_a_small_run_waits_for_the_place_of_a_larger_one_no_longer_than_five_minutes():
    nodes = ClusterView((replace(NODE, gpus=3, gpus_in_all=4), replace(NODE, gpus=4)))
    coming_up = replace(works("70B", 4, useful=1), placed={}, unplaced_seconds=299.0)
    small = waits("32B", 2, useful=1)
    assert decide(small, running=(coming_up,), free=nodes) == SchedulerDecision({}, {}, held_back=("32B",))
    after_all = decide(small, running=(replace(coming_up, unplaced_seconds=300.0),), free=nodes)
    assert (set(after_all.starts), after_all.held_back) == ({"32B"}, ())


def test_what_the_last_rows_of_a_run_leave_is_free_for_others_and_the_run_does_not_grow():
    """Of its five replicas two have its last rows, one of which is starting anew."""
    ending = replace(works("7B", replicas=2), placed={"model": 1}, last_rows=True)
    assert decide(waits("32B", 4), running=(ending,), free=with_free(4)).starts == {}
    assert set(decide(waits("32B", 4), running=(ending,), free=with_free(5)).starts) == {"32B"}
    assert decide(running=(ending,), free=with_free(5)).replicas == {}


def test_a_run_that_only_waits_for_verdicts_needs_no_place():
    judged = replace(works("70B", 4, replicas=0), last_rows=True)
    nodes = ClusterView((replace(NODE, gpus=3, gpus_in_all=4), replace(NODE, gpus=4)))
    assert set(decide(waits("32B", 2), running=(judged,), free=nodes).starts) == {"32B"}


def test_a_small_run_does_not_wait_for_one_whose_node_has_yet_to_come():
    small_now = ClusterView((replace(NODE, gpus=2),), autoscales=True, autoscaler_capacity=(NODE,))
    assert set(decide(waits("70B", 8, useful=1), waits("32B", 2, useful=1), free=small_now).starts) == {"70B", "32B"}


def test_no_run_gets_more_replicas_than_have_work_or_than_were_asked_for():
    assert decide(waits("7B", useful=3)).replicas == {"7B": 3}
    decision = decide(waits("7B", wanted=2))
    assert decision.starts["7B"].stages[0][0].replicas == 2
    assert decision.replicas == {}


def test_a_run_at_work_grows_when_others_have_left_their_room():
    assert decide(running=(works("7B", work=7),), free=with_free(2)).replicas == {"7B": 3}


def test_a_waiting_run_has_the_room_before_a_running_one_grows():
    decision = decide(waits("1.5B"), running=(works("7B", work=99),), free=with_free(1))
    assert set(decision.starts) == {"1.5B"}
    assert decision.replicas == {}


def test_what_was_promised_to_a_run_that_is_still_coming_up_is_not_given_twice():
    coming = replace(works("70B", 4), placed={})
    assert decide(waits("7B"), running=(coming,), free=with_free(4)).starts == {}
    assert set(decide(waits("7B"), running=(works("70B", 4),), free=with_free(4)).starts) == {"7B"}


def test_apis_start_at_once_beside_a_full_cluster():
    decision = decide(WaitingRun("Kimi", (CLIENT,), 0.0), running=(works("70B", 8),), free=with_free(0))
    assert set(decision.starts) == {"Kimi"}
    assert decision.replicas == {}


def test_engines_on_cpus_work_one_after_the_other():
    laptop = ClusterView((Node("laptop", cpus=16, gpus=0, memory=24),))
    first = decide(WaitingRun("a", (ON_CPU,), 2), WaitingRun("b", (ON_CPU,), 1), free=laptop)
    assert set(first.starts) == {"a"}
    at_work = RunningRun("a", first.starts["a"], 1, {"model": 1}, 2)
    assert decide(WaitingRun("b", (ON_CPU,), 1), running=(at_work,), free=laptop).starts == {}


def test_no_more_runs_at_once_than_the_driver_carries():
    assert len(schedule_runs([waits(str(number)) for number in range(5)], [], ONE_NODE, at_once=3).starts) == 3


def test_a_run_whose_judge_has_no_room_beside_it_waits_until_it_is_alone_and_is_staged():
    run = WaitingRun("7B", (MODEL, GUARD), 1.0)
    assert decide(run, running=(works("other"),), free=with_free(1)).starts == {}
    (plan,) = decide(run, free=with_free(1)).starts.values()
    assert [[pool.needs.pool for pool in stage] for stage in plan.stages] == [["model"], ["guard"]]


def test_nodes_that_may_come_are_room_too():
    none = ClusterView((Node("head", cpus=8, gpus=0, memory=32),), autoscales=True, autoscaler_capacity=(NODE, NODE))
    decision = decide(waits("70B", 8, useful=1), waits("32B", 2, useful=1), free=none)
    assert set(decision.starts) == {"70B", "32B"}


def test_what_judges_wait_for_is_not_given_to_models_but_apis_need_not_wait():
    waiting = (waits("7B"), WaitingRun("Kimi", (CLIENT,), 0.0))
    decision = schedule_runs(waiting, (works("70B", 4),), with_free(1), 16, reserved=[GUARD])
    assert (set(decision.starts), decision.replicas) == ({"Kimi"}, {})
    assert schedule_runs(waiting[:1], (), with_free(0), 16, reserved=[GUARD]).starts == {}
    assert set(schedule_runs(waiting, (works("70B", 4, useful=1),), with_free(2), 16, reserved=[GUARD]).starts) == {
        "7B",
        "Kimi",
    }


def test_a_replica_waits_for_a_node_that_holds_it_whole_though_free_gpus_lie_on_two():
    halves = ClusterView(tuple(replace(NODE, gpus=1, gpus_in_all=8) for _ in range(2)))
    assert decide(waits("32B", 2), running=(works("7B", useful=1),), free=halves).starts == {}
    assert decide(running=(works("32B", 2),), free=halves).replicas == {}
    small = ClusterView(tuple(replace(NODE, gpus=1, gpus_in_all=1) for _ in range(2)))
    (plan,) = decide(waits("32B", 2), free=small).starts.values()
    assert plan.stages[0][0].executor == "ray"


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 4, 8, 16]), st.floats(0.1, 100), st.integers(1, 6)), max_size=12),
    st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=4),
)
def test_all_that_is_promised_fits_and_no_room_is_left_that_a_waiting_run_could_use(
    runs: list[tuple[int, float, int]], nodes: list[int]
):
    free = ClusterView(tuple(Node(f"n{place}", 64, gpus, 1000) for place, gpus in enumerate(nodes)))
    waiting = [waits(f"m{place}", gpus, work, useful=useful) for place, (gpus, work, useful) in enumerate(runs)]

    decision = schedule_runs(waiting, [], free, at_once=16)

    reserved = [
        run.model
        for run in waiting
        if run.name in decision.starts
        for _ in range(decision.replicas.get(run.name, decision.starts[run.name].stages[0][0].replicas))
    ]
    assert fits(reserved, free)
    assert sum(node.cpus for node in free.nodes) > STREAM_CPUS
    for run in waiting:
        waits_for_a_place = any(
            started.model.gpus > run.model.gpus for started in waiting if started.name in decision.starts
        )
        if run.name not in decision.starts and not waits_for_a_place:
            started = [run.model for run in waiting if run.name in decision.starts]
            assert not fits([*started, run.model], free) or not fits([*reserved, run.model], free)


@pytest.mark.parametrize("free", [0, 3])
def test_a_full_cluster_and_an_empty_queue_ask_for_nothing(free: int):
    assert decide(free=with_free(free)) == SchedulerDecision({}, {})
