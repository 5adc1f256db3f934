"""Fitting engines onto GPUs: parallel sizes and contexts by the memory of weights and KV cache."""

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from safechain_ray.catalog import judges, models
from safechain_ray.catalog.entries import GPU_GIGABYTES, EngineNeeds
from safechain_ray.catalog.parallelism import ParallelSizes
from safechain_ray.cluster.gpu_fit import JUDGE_CONTEXTS, Gpus, cache_bytes, fit_engine, fit_sentence
from safechain_ray.errors import PlanError

ENGINES = {**models(), **{name: judge.engine for name, judge in judges().items() if judge.engine}}

L4 = Gpus(24.15, a_node=1, in_all=1)
"""One GPU of 23,034 MiB, as NVML reports an L4."""


def changed(name: str, **fields: object) -> EngineNeeds:
    return ENGINES[name].model_copy(update={"fixed": frozenset(fields), **fields})


def sizes_on(name: str, gigabytes: float) -> tuple[int, int]:
    sizes = fit_engine(ENGINES[name], Gpus(gigabytes)).sizes
    return sizes.tensor_parallel_size, sizes.pipeline_parallel_size


def refusal(engine: EngineNeeds, gpus: Gpus, tokens: int | None = None) -> str:
    with pytest.raises(PlanError) as caught:
        fit_engine(engine, gpus, tokens)
    return str(caught.value)


@pytest.mark.parametrize("name", ENGINES)
def test_the_catalogs_sizes_are_those_that_a_plan_computes_for_gpus_of_80_gb(name: str):
    assert fit_engine(ENGINES[name], Gpus(GPU_GIGABYTES)).sizes == ENGINES[name].sizes


@pytest.mark.parametrize(
    ("name", "on_24", "on_48", "on_141"),
    [
        ("R1-1.5B", (1, 1), (1, 1), (1, 1)),
        ("R1-8B", (2, 1), (1, 1), (1, 1)),
        ("R1-14B", (4, 1), (2, 1), (1, 1)),
        ("R1-32B", (8, 1), (4, 1), (1, 1)),
        ("R1-70B", (8, 1), (8, 1), (2, 1)),
        ("R1-671B", (8, 5), (8, 3), (8, 1)),
    ],
)
def test_smaller_gpus_take_more_and_larger_ones_fewer(name: str, on_24, on_48, on_141):
    assert [sizes_on(name, gigabytes) for gigabytes in (24, 48, 141)] == [on_24, on_48, on_141]


def test_a_model_of_8b_runs_on_one_gpu_of_24_gb_with_the_context_that_its_run_needs():
    fit = fit_engine(ENGINES["R1-8B"], L4, tokens=20_000)

    assert (fit.sizes.gpus, fit.context_length) == (1, 20_000)
    assert 28_000 < fit.cache_tokens < 31_000
    assert "The context is 20,000 tokens, which fits every request of this run; 32,768 do not fit." in fit_sentence(
        ENGINES["R1-8B"], fit
    )


def test_where_the_whole_context_fits_it_stays():
    assert fit_engine(ENGINES["R1-8B"], Gpus(80), tokens=20_000).context_length == 32_768


def test_a_context_that_the_user_has_set_is_not_lowered():
    assert "the KV cache of 32,768 tokens" in refusal(changed("R1-8B", context_length=32_768), L4, tokens=20_000)


def test_a_judge_takes_one_gpu_where_a_model_takes_more_for_its_kv_cache():
    engine = ENGINES["llama-guard-4-12b"]
    assert fit_engine(engine, Gpus(48), contexts=JUDGE_CONTEXTS).sizes.gpus == 1
    assert fit_engine(engine, Gpus(48)).sizes.gpus == 2


def test_sizes_that_the_user_has_set_are_kept_or_refused():
    assert fit_engine(changed("R1-7B", tensor_parallel_size=4), Gpus(80)).sizes.gpus == 4
    assert "leave out tensor_parallel_size" in refusal(changed("R1-70B", tensor_parallel_size=1), Gpus(80))


def test_tensor_parallelism_divides_the_attention_heads():
    refused = refusal(changed("R1-7B", tensor_parallel_size=8), Gpus(80))
    assert "28 attention heads and 4 key-value heads, which tensor_parallel_size 8 does not divide" in refused
    assert "Fix: use one of 1, 2, 4." in refused
    assert "28 layers, fewer than pipeline_parallel_size 40" in refusal(
        changed("R1-7B", pipeline_parallel_size=40), Gpus(80)
    )


def test_a_share_of_the_gpu_that_the_user_has_set_counts():
    half = changed("R1-8B", engine_kwargs={"gpu_memory_utilization": 0.45})
    assert fit_engine(half, Gpus(80)).cache_tokens < fit_engine(ENGINES["R1-8B"], Gpus(80)).cache_tokens / 2


def test_quantized_weights_take_about_half():
    engine = changed("R1-14B", quantization="fp8")
    assert engine.weight_gigabytes == pytest.approx(17, abs=0.1)
    assert fit_engine(engine, Gpus(24, 1, 1), tokens=12_000).sizes.gpus == 1


@pytest.mark.parametrize(
    ("name", "gpus", "tokens", "fixes"),
    [
        (
            "R1-8B",
            Gpus(24, 1, 1),
            None,
            "lower context_length of its engine, for example to 16384; or set quantization",
        ),
        ("R1-14B", Gpus(24, 1, 1), None, "Fix: use 2 GPUs of 24 GB; or use 1 GPU of 48 GB; or use 1 GPU of 80 GB"),
        ("R1-70B", Gpus(24, 4, 4), None, "Fix: use 8 GPUs of 24 GB"),
        ("R1-671B", Gpus(80, 8, 8), None, "Fix: use 16 GPUs of 80 GB; or use 8 GPUs of 141 GB."),
        ("R1-70B", Gpus(2, 8, 8), None, "use 4 GPUs of 48 GB"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name: str, gpus: Gpus, tokens: int | None, fixes: str):
    says = refusal(ENGINES[name], gpus, tokens)
    assert f"does not fit GPUs of {gpus.gigabytes:g} GB, {gpus.a_node} per node and {gpus.in_all} in total" in says
    assert fixes in says


def test_a_model_of_unknown_attention_is_fitted_by_a_guess_that_says_so():
    engine = ENGINES["R1-8B"].model_copy(update={"attention": None})
    fit = fit_engine(engine, Gpus(80))
    assert fit.sizes.gpus == 1
    assert "estimated" in fit_sentence(engine, fit)


def test_the_kv_cache_of_latent_attention_is_not_divided_by_tensor_parallelism():
    attention = ENGINES["R1-671B"].attention
    assert attention is not None
    assert attention.cache_bytes(ParallelSizes()) == 61 * 576 * 2
    assert attention.cache_bytes(ParallelSizes(tensor_parallel_size=8)) == 61 * 576 * 2
    assert attention.cache_bytes(ParallelSizes(tensor_parallel_size=8, pipeline_parallel_size=2)) == 31 * 576 * 2


def test_more_gpus_than_key_value_heads_hold_copies():
    attention = ENGINES["R1-7B"].attention
    assert attention is not None
    one, four = (attention.cache_bytes(ParallelSizes(tensor_parallel_size=size)) for size in (1, 4))
    assert (one, four) == (57_344, 14_336)
    assert attention.cache_bytes(ParallelSizes(tensor_parallel_size=28)) == four


@given(
    name=st.sampled_from(sorted(ENGINES)),
    gigabytes=st.floats(8, 300),
    a_node=st.integers(1, 8),
    nodes=st.integers(1, 4),
    tokens=st.one_of(st.none(), st.integers(1, 40_000)),
)
def test_what_is_planned_fits_and_cuts_no_request(name: str, gigabytes: float, a_node: int, nodes: int, tokens):
    engine, gpus = ENGINES[name], Gpus(gigabytes, a_node, a_node * nodes)
    try:
        fit = fit_engine(engine, gpus, tokens)
    except PlanError as error:
        event(str(error).partition(":")[0])
        return
    assert fit.sizes.gpus <= gpus.in_all
    assert fit.sizes.tensor_parallel_size <= a_node
    assert engine.attention is None or engine.attention.heads % fit.sizes.tensor_parallel_size == 0
    assert fit.least_gigabytes <= 0.92 * gigabytes + 1e-9
    assert fit.cache_tokens >= fit.context_length
    assert fit.context_length >= min(engine.context_length, tokens or engine.context_length)


def test_where_nodes_differ_a_replica_is_sized_for_the_smallest_gpus_that_it_may_meet():
    mixed = Gpus(24, a_node=8, in_all=28, by_node=((1, 24), (8, 85)))
    assert [fit_engine(ENGINES[name], mixed).sizes.gpus for name in ("R1-1.5B", "R1-70B")] == [1, 4]
    assert fit_engine(ENGINES["R1-70B"], mixed).gpu_gigabytes == 85


def test_key_value_heads_are_divided_or_copied_whole():
    """As vLLM asserts (0.25.1 to 0.33.0, model_executor/models/llama.py)."""
    ten = ENGINES["R1-14B"].attention.model_copy(update={"key_value_heads": 10})
    assert [size for size in (1, 2, 4, 5, 8, 20) if ten.divides(size)] == [1, 2, 5, 20]


def test_float32_doubles_the_kv_cache():
    half, whole = (cache_bytes(changed("R1-8B", dtype=dtype), ParallelSizes()) for dtype in ("bfloat16", "float32"))
    assert whole == 2 * half


def test_a_replica_is_spread_over_nodes_only_where_none_holds_it():
    singles = Gpus(48.3, a_node=1, in_all=8, by_node=((1, 48.3),))
    assert fit_engine(ENGINES["R1-14B"], singles).sizes == ParallelSizes()
    assert fit_engine(ENGINES["R1-32B"], singles).sizes == ParallelSizes(pipeline_parallel_size=2)


def test_no_tensor_parallel_group_straddles_two_nodes():
    sixes = Gpus(24, a_node=6, in_all=24, by_node=((6, 24),))
    sizes = fit_engine(ENGINES["R1-70B"], sixes).sizes
    assert (sizes.tensor_parallel_size, sizes.gpus > 6) == (2, True)
    loose = Gpus(80, a_node=8, in_all=16, by_node=((1, 80), (8, 80)))
    assert fit_engine(ENGINES["R1-671B"], loose).sizes.tensor_parallel_size == 1


def test_a_refusal_names_what_the_user_has_set():
    small = changed("R1-8B", engine_kwargs={"gpu_memory_utilization": 0.15})
    says = refusal(small, Gpus(85.5, 1, 1))
    assert "with gpu_memory_utilization 0.15" in says
    assert "Fix: leave out gpu_memory_utilization of its engine_kwargs" in says
    assert "leave out context_length" in refusal(changed("R1-8B", context_length=32_000), L4, tokens=20_000)
