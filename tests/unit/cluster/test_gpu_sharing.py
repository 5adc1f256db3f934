"""Engines that share one GPU: each one's part of the memory, and the plans of machines with one GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.catalog import judges, models
from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.cluster.gpu_fit import GpuFit, Gpus, fit_engine, share_one_gpu
from safechain_ray.errors import PlanError


def guard(name: str) -> EngineNeeds:
    engine = judges()[name].engine
    assert engine is not None
    return engine


def fits(model: str, judge: str, gigabytes: float, tokens: int = 18_000) -> list[GpuFit]:
    gpu = Gpus(gigabytes, 1, 1)
    return [fit_engine(models()[model], gpu, tokens), fit_engine(guard(judge), gpu, 28_000, contexts=1)]


def test_the_judge_gets_room_for_two_contexts_and_the_model_the_rest():
    shared = share_one_gpu(fits("R1-8B", "llama-guard-3-8b", 85))
    assert shared is not None
    model, judge = shared

    assert 0.85 < model.memory_share + judge.memory_share < 0.92
    assert judge.cache_tokens >= 2 * 28_000
    assert model.cache_tokens > 200_000
    assert model.context_length == judge.context_length == 32_768


@pytest.mark.parametrize(("model", "gigabytes"), [("R1-8B", 48.3), ("R1-7B", 48.3), ("R1-1.5B", 32)])
def test_a_model_that_would_lose_most_of_its_kv_cache_shares_nothing(model: str, gigabytes: float):
    """256 requests on a cache for 22,000 tokens would preempt each other all the time."""
    assert share_one_gpu(fits(model, "llama-guard-3-8b", gigabytes)) is None


@pytest.mark.parametrize(
    ("model", "judge", "gigabytes"), [("R1-7B", "llama-guard-3-8b", 24.15), ("R1-14B", "harmbench", 48)]
)
def test_engines_that_are_too_large_together_share_nothing(model: str, judge: str, gigabytes: float):
    assert share_one_gpu(fits(model, judge, gigabytes)) is None


def test_an_engine_whose_share_the_user_has_set_shares_nothing():
    engine = models()["R1-1.5B"].model_copy(update={"engine_kwargs": {"gpu_memory_utilization": 0.92}})
    gpu = Gpus(80, 1, 1)
    assert share_one_gpu([fit_engine(engine, gpu), fit_engine(guard("llama-guard-3-1b"), gpu)]) is None


@given(
    st.sampled_from(["R1-1.5B", "R1-7B", "R1-8B", "R1-14B"]),
    st.lists(st.sampled_from(["llama-guard-3-1b", "llama-guard-3-8b", "harmbench"]), min_size=1, max_size=3),
    st.floats(16, 200),
)
def test_shares_leave_room_for_each_engines_own_context_and_hold_what_it_needs(model: str, guards, gigabytes: float):
    gpu = Gpus(gigabytes, 1, 1)
    try:
        alone = [
            fit_engine(models()[model], gpu, 18_000),
            *(fit_engine(guard(name), gpu, 28_000, 1) for name in guards),
        ]
    except PlanError:
        return
    shared = share_one_gpu(alone)
    if shared is None:
        return
    used = sum(fit.memory_share for fit in shared) * gigabytes
    assert used <= 0.92 * gigabytes - 0.5 * len(guards) + 1e-6
    for fit in shared:
        assert fit.memory_share * gigabytes >= fit.least_gigabytes - 1e-6
        assert fit.cache_tokens >= fit.needed_context
