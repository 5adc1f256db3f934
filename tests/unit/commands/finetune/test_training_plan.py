"""What a training takes is compared with the GPUs' memory and the cluster before anything loads."""

import re
from typing import Any

import pytest

from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.commands.finetune.plan import TrainingPlan, check_training, plan_training
from safechain_ray.commands.finetune.resolve import resolve_base_model
from safechain_ray.config import FinetuneConfig, read_config_as
from safechain_ray.errors import PlanError

EIGHT_GPUS = ClusterView((Node("gpus", 96, 8, 900),))
LAPTOP = ClusterView((Node("laptop", 16, 0, 20),))


def config(**keys: Any) -> FinetuneConfig:
    usual = {"model": "R1-7B", "training_set": "safechain", "output": "runs/x", "resources.workers": 8}
    return read_config_as(FinetuneConfig, None, usual | keys)


def plan(view: ClusterView, **keys: Any) -> TrainingPlan:
    given = config(**keys)
    return check_training(given, resolve_base_model(given.model), view)


def refusal(view: ClusterView, **keys: Any) -> str:
    with pytest.raises(PlanError) as refused:
        plan(view, **keys)
    return str(refused.value)


@pytest.mark.parametrize("model", ["R1-7B", "R1-8B"])
def test_eight_gpus_of_80_gb_hold_all_weights(model: str):
    made = plan(EIGHT_GPUS, model=model)
    assert (made.device, made.workers, made.worker.gpus, made.memory.sharded) == ("cuda", 8, 1, True)


def test_gpus_of_24_gb_are_refused_with_what_takes_how_much_and_adapters_as_a_fix():
    says = refusal(EIGHT_GPUS, **{"resources.gpu_memory": 24})
    assert "with 8 workers takes 34.4 GB of each GPU, and each has 24 GB" in says
    assert "AdamW's two states" in says
    assert "train adapters (--lora)" in says
    assert plan(EIGHT_GPUS, **{"resources.gpu_memory": 24, "training.lora": {}}).memory.fits(24)


@pytest.mark.parametrize("gigabytes", [24, 32, 40, 48])
def test_every_fix_of_a_refusal_would_do(gigabytes: int):
    small = {"resources.gpu_memory": gigabytes, "resources.workers": 2}
    says = refusal(EIGHT_GPUS, **small)
    many = ClusterView(tuple(Node(f"node-{number}", 96, 8, 900) for number in range(8)))
    fixes: list[dict[str, Any]] = [
        {"resources.workers": int(count), "training.sequences_a_step": 64}
        for count in re.findall(r"use (\d+) workers", says)
    ]
    fixes += [{"max_length": int(length.replace(",", ""))} for length in re.findall(r"max_length to ([\d,]+)", says)]
    fixes += [{"training.lora": {}}] * ("--lora" in says)
    assert fixes, says
    for fix in fixes:
        assert plan(many, **small | fix).memory.fits(gigabytes)


def test_fewer_gpus_than_workers_are_refused_with_a_table_and_how_many_fit():
    says = refusal(ClusterView((Node("gpus", 96, 4, 900),)))
    assert "8 training workers do not fit the cluster at once: 4 of them fit" in says
    assert "has: node gpus" in says
    assert "--workers 4" in says


def test_a_cluster_without_gpus_is_told_where_to_find_some():
    assert "join a cluster with GPUs" in refusal(LAPTOP)


def test_workers_that_only_an_autoscaler_can_place_are_noted_and_too_many_for_it_refused():
    few = (Node("gpus", 96, 4, 900),)
    grows = ClusterView(few, autoscales=True, autoscaler_capacity=few)
    assert plan(grows).notes == ("The workers do not fit the nodes that are up: the autoscaler is asked for more.",)
    assert "8 of them fit" in refusal(grows, **{"resources.workers": 16})


def test_a_small_model_trains_on_cpus_whole_in_each_worker():
    made = plan(LAPTOP, model="demo-reasoner", **{"resources.workers": 2})
    assert (made.device, made.worker.gpus, made.memory.sharded) == ("cpu", 0, False)


def test_a_plan_can_be_shown_where_it_can_not_be_carried_out():
    given = config()
    made = plan_training(given, resolve_base_model(given.model), LAPTOP)
    assert made.refusal is not None
    assert made.memory.gigabytes > 30
