"""Plans of whole runs on pretended GPUs: replicas, parallel sizes, contexts and the judge's share."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from safechain_ray.catalog import models
from safechain_ray.cluster.pipeline import StreamSettings, resources_of
from safechain_ray.cluster.planner import ClusterView, Node, Plan, PlannedPool, make_plan
from safechain_ray.config import ResourcesConfig
from safechain_ray.errors import PlanError
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.pools import longest_request, pool_needs
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.resolve import resolve
from safechain_ray.storage import open_folder
from tests.unit.runs.small_runs import config, resolved

L4, A100, H100 = 24.15, 42.9, 85.5
"""Memory as NVML reports it, in 1e9 bytes."""

PAPER = {"judges": ["llama-guard-3-8b"], "sampling.max_tokens": 16_000, "samples": 200}
"""Settings with work for many replicas."""


def plan(model: str, nodes: int, gpus: float, memory: float | None, gpu_memory: int | None = None, **keys) -> Plan:
    node = Node("gpu", cpus=96, gpus=gpus, memory=1000, gpu_memory=memory)
    needs = pool_needs(
        resolved(**PAPER | keys | {"model": model}),
        ResourcesConfig(gpu_memory=gpu_memory, max_running=8),
        ClusterView((node,) * nodes),
    )
    return make_plan(needs, ClusterView((node,) * nodes))


def run_manifest(plan: Plan) -> list[dict[str, tuple[int, float, str]]]:
    """Replicas, GPUs of each and executor of each pool, by stage."""
    return [
        {pool.needs.pool: (pool.replicas, pool.needs.gpus, pool.executor) for pool in stage} for stage in plan.stages
    ]


GUARD = "llama-guard-3-8b"


def test_one_gpu_of_24_gb_streams_small_engines_and_stages_larger_ones():
    small = plan("R1-1.5B", 1, 1, L4, judges=["llama-guard-3-1b"])
    assert run_manifest(small) == [{"model": (1, 0.5, "mp"), "llama-guard-3-1b": (1, 0.5, "mp")}]
    assert small.notes == (
        "model: 59% of the only GPU (24.1 GB), with a KV cache of 316,844 tokens and a context of 32,768.",
        "llama-guard-3-1b: 31% of the only GPU (24.1 GB), with a KV cache of 83,783 tokens and a context of 32,768.",
    )

    assert run_manifest(plan("R1-7B", 1, 1, L4)) == [{"model": (1, 1, "mp")}, {GUARD: (1, 1, "mp")}]


def test_a_model_of_8b_fits_24_gb_with_the_context_that_its_run_needs():
    staged = plan("R1-8B", 1, 1, L4)
    (model,), (guard,) = staged.stages
    assert model.needs.fit is not None
    assert 17_000 < model.needs.fit.context_length < 20_000
    assert guard.needs.fit is not None
    assert guard.needs.fit.context_length < 32_768
    assert "which fits every request of this run" in " ".join(staged.notes)


def test_one_gpu_of_80_gb_streams_with_a_share_for_each_engine():
    ((model, guard),) = plan("R1-8B", 1, 1, H100).stages
    assert model.needs.shares_a_gpu
    assert guard.needs.shares_a_gpu
    assert model.needs.fit is not None
    assert guard.needs.fit is not None
    assert model.needs.fit.memory_share > guard.needs.fit.memory_share
    assert model.needs.fit.memory_share + guard.needs.fit.memory_share < 0.92


def test_a_node_of_eight_is_divided_by_the_work_of_model_and_judge():
    """One judge of 8B keeps up with four replicas of a model of 8B, and with two of R1-1.5B."""
    assert run_manifest(plan("R1-8B", 1, 8, H100)) == [{"model": (6, 1, "mp"), GUARD: (2, 1, "mp")}]
    assert run_manifest(plan("R1-1.5B", 1, 8, H100)) == [{"model": (5, 1, "mp"), GUARD: (3, 1, "mp")}]
    thoughts = {"parts": ["thought", "answer"]}
    assert run_manifest(plan("R1-8B", 1, 8, H100, **thoughts)) == [{"model": (5, 1, "mp"), GUARD: (3, 1, "mp")}]
    assert run_manifest(plan("R1-70B", 1, 8, H100)) == [{"model": (1, 4, "mp"), GUARD: (1, 1, "mp")}]
    assert run_manifest(plan("R1-14B", 1, 8, A100)) == [{"model": (3, 2, "mp"), GUARD: (2, 1, "mp")}]


def test_two_nodes_of_eight_hold_r1_itself_and_its_judge_after_it():
    assert run_manifest(plan("R1-671B", 2, 8, H100)) == [{"model": (1, 16, "ray")}, {GUARD: (16, 1, "mp")}]
    assert run_manifest(plan("R1-70B", 2, 8, H100)) == [{"model": (3, 4, "mp"), GUARD: (1, 1, "mp")}]


def test_a_number_of_replicas_that_is_asked_for_leaves_the_rest_to_the_others():
    fixed = ResourcesConfig(judge_replicas=1, max_running=8)
    view = ClusterView((Node("gpu", 96, 8, 1000, gpu_memory=H100),))
    staged = make_plan(pool_needs(resolved(**PAPER | {"model": "R1-1.5B"}), fixed, view), view)
    assert run_manifest(staged) == [{"model": (7, 1, "mp"), GUARD: (1, 1, "mp")}]


def test_gpu_memory_that_the_user_gives_takes_the_place_of_what_was_read():
    assert run_manifest(plan("R1-32B", 1, 8, H100, gpu_memory=48))[0]["model"] == (1, 4, "mp")
    assert run_manifest(plan("R1-32B", 1, 8, None, gpu_memory=48))[0]["model"] == (1, 4, "mp")


def test_unknown_gpu_memory_takes_the_catalogs_sizes_and_says_so():
    unknown = plan("R1-32B", 1, 8, None)
    assert run_manifest(unknown)[0]["model"] == (3, 2, "mp")
    assert unknown.notes == ("The memory of the GPUs is not known: parallel sizes are those for 80 GB (--gpu-memory).",)


def test_engines_are_started_as_planned():
    ((model, _),) = plan("R1-8B", 1, 1, H100).stages
    entry = models()["R1-8B"]
    settings = StreamSettings(
        start_engine=lambda start: None,
        log_folder=Path("/logs"),
        max_running=256,
        cpu_kv_cache_gigabytes=1,
        block_rows=32,
        max_engine_deaths=3,
        progress_tracker=None,
        inflight_tracker=None,
    )
    assert model.needs.fit is not None
    shared = settings.engine_start(model, entry)
    assert shared.memory_share == model.needs.fit.memory_share
    assert shared.max_running == 256
    assert resources_of(model, None)["num_gpus"] == 0.5

    ((spread, _),) = plan("R1-14B", 1, 8, A100).stages
    start = settings.engine_start(spread, models()["R1-14B"])
    assert (start.needs.tensor_parallel_size, start.memory_share) == (2, None)
    assert models()["R1-14B"].tensor_parallel_size == 1


def test_a_record_has_the_sizes_that_a_run_had(tmp_path: Path):
    settings = config(**PAPER | {"model": "R1-70B"})
    record = RunRecord.opened(RunFolder(open_folder(str(tmp_path))), settings, resolve(settings))
    view = ClusterView((Node("gpu", 96, 8, 1000, gpu_memory=H100),))
    record.started(plan("R1-70B", 1, 8, H100), view, 0)
    (attempt,) = json.loads((tmp_path / "run.json").read_text())["tries"]
    assert attempt["stages"][0][0] | {"kv_cache_tokens": 0} == {
        **{"pool": "model", "device": "cuda", "replicas": 1, "gpus": 4},
        **{"tensor_parallel_size": 4, "pipeline_parallel_size": 1, "context_length": 32768},
        **{"gpu_gigabytes": 85.5, "memory_share": 0.92, "kv_cache_tokens": 0},
    }
    assert attempt["hardware"][0]["gpu_memory_gigabytes"] == 85.5


def test_nodes_that_an_autoscaler_is_yet_to_bring_have_the_accelerator_that_was_asked_for():
    view = ClusterView((Node("head", 8, 0, 32),), autoscales=True, accelerator="L4")
    run = resolved(**PAPER | {"model": "R1-14B"})
    assert pool_needs(run, ResourcesConfig(accelerator="L4"), view)[0].gpus == 2
    unnamed = ClusterView(view.nodes, autoscales=True)
    assert pool_needs(run, ResourcesConfig(), unnamed)[0].gpus == 1
    assert pool_needs(run, ResourcesConfig(gpu_memory=24), unnamed)[0].gpus == 2


def test_an_autoscaler_without_a_config_brings_nodes_like_those_that_are_up():
    view = ClusterView((Node("a", 8, 1, 64, gpu_memory=L4),) * 2, autoscales=True)
    needs = pool_needs(resolved(**PAPER | {"model": "R1-8B"}), ResourcesConfig(), view)
    assert [each.gpus for each in needs] == [1, 1]


def test_a_model_takes_fewer_gpus_where_it_would_push_its_judge_off_the_node():
    side_by_side = plan("R1-8B", 1, 2, L4)
    assert run_manifest(side_by_side) == [{"model": (1, 1, "mp"), GUARD: (1, 1, "mp")}]


def test_judges_of_a_model_without_gpus_take_one_each():
    view = ClusterView((Node("gpu", 96, 8, 1000, gpu_memory=H100),))
    api = {"name": "openai:m", "base_url": "http://localhost:1/v1"}
    needs = pool_needs(resolved(**PAPER | {"model": api}), ResourcesConfig(), view)
    assert needs[1].wanted == 1


def test_judges_stop_growing_where_a_model_of_fixed_size_is_slower():
    fixed = ResourcesConfig(replicas=1, max_running=8)
    view = ClusterView((Node("gpu", 96, 8, 1000, gpu_memory=H100),))
    made = make_plan(pool_needs(resolved(**PAPER | {"model": "R1-8B"}), fixed, view), view)
    assert run_manifest(made) == [{"model": (1, 1, "mp"), GUARD: (1, 1, "mp")}]


def test_an_engine_whose_memory_its_arguments_change_is_planned_as_it_is():
    model = {"name": "R1-14B", "engine": {"engine_kwargs": {"cpu_offload_gb": 16}}}
    view = ClusterView((Node("gpu", 8, 1, 64, gpu_memory=L4),))
    needs = pool_needs(resolved(**PAPER | {"model": model}), ResourcesConfig(), view)[0]
    assert (needs.gpus, needs.fit) == (1, None)
    assert "its engine_kwargs may still make it fit" in needs.notes[0]


def test_gpus_of_two_sizes_are_planned_for_as_the_smaller_ones():
    nodes = tuple(Node("gpu", 96, 8, 1000, gpu_memory=memory) for memory in (L4, H100))
    view = ClusterView(nodes)
    model = pool_needs(resolved(**PAPER | {"model": "R1-32B"}), ResourcesConfig(), view)[0]
    assert model.gpus == 8
    assert "There are GPUs of 24.1 and 85.5 GB" in model.notes[1]
    assert "--accelerator chooses one kind" in model.notes[1]


def test_a_model_that_no_gpu_here_holds_is_refused_before_anything_starts():
    with pytest.raises(PlanError, match=r"does not fit GPUs of 24\.1 GB, 1 per node and 1 in total"):
        plan("R1-32B", 1, 1, L4)


def test_a_plan_says_why():
    assert plan("R1-70B", 1, 8, H100).notes[:2] == (
        "model: 4 GPUs (tensor 4 parallel) of 85.5 GB for 141 GB of weights and a KV cache of 489,761 tokens.",
        "llama-guard-3-8b: 1 GPU of 85.5 GB for 16.1 GB of weights and a KV cache of 460,029 tokens.",
    )


def test_a_replica_of_several_gpus_takes_a_cpu_and_memory_for_the_process_of_each():
    one, four = (plan(model, 1, 8, H100).stages[0][0].needs for model in ("R1-8B", "R1-70B"))
    assert (one.cpus, one.memory) == (2, 2)
    assert (four.cpus, four.memory) == (6, 10)


@pytest.mark.parametrize(
    ("model", "memory", "rows_of_a_replica", "running"),
    [
        ("R1-1.5B", H100, 4_096, 1_024),
        ("R1-1.5B", H100, 1_024, 512),
        ("R1-1.5B", H100, 256, 256),
        ("R1-8B", H100, 4_096, 460),
        ("R1-1.5B", L4, 4_096, 256),
        ("R1-1.5B", None, 4_096, 256),
    ],
)
def test_large_gpus_decode_more_where_their_cache_holds_it_and_every_replica_has_rows(
    model: str, memory: float | None, rows_of_a_replica: int, running: int
):
    view = ClusterView((Node("gpu", 96, 8, 1000, gpu_memory=memory),))
    needs = pool_needs(resolved(**PAPER | {"model": model}), ResourcesConfig(), view)[0]
    pool = PlannedPool(replace(needs, useful=4 * rows_of_a_replica // 256), replicas=4)
    assert pool.running == running
    assert replace(pool, may_grow=True).running == 256


def test_a_request_is_bounded_by_its_prompts_bytes_and_its_tokens():
    run = resolved(**{"sampling.max_tokens": 100})
    longest = max(len(prompt.text.encode()) for each in run.prompt_sets.values() for prompt in each.prompts)
    assert longest_request(run) == longest + 1024 + 100
    assert longest_request(resolved(strategies=["morethink"])) is None
