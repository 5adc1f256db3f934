"""The time of a token: estimates are held against published throughputs, and experts that rest take memory alone."""

import pytest
from pydantic import ValidationError

from safechain_ray import catalog
from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.runs.resolve_model import engine_identity
from safechain_ray.runs.token_rates import TokenRates


def engine(billions: float, active: float | None = None, **fields: object) -> EngineNeeds:
    sizes = {"parameters": billions, "active_parameters": active, "context_length": 8192}
    return EngineNeeds.model_validate({"source": "owner/name", **sizes, **fields})


# Output tokens a second of one H100 80GB with vLLM's defaults (column "Base tps/gpu"), vLLM 0.15.0: README.md of
# examples/inference/benchmark in github.com/huggingface/datatrove at a649de7. gpt-oss is published in MXFP4.
PUBLISHED = {
    "Qwen3-0.6B": (engine(0.6), 13_527),
    "Qwen3-1.7B": (engine(1.72), 11_710),
    "Qwen3-4B": (engine(4.02), 7_919),
    "Qwen3-8B": (engine(8.19), 6_338),
    "Qwen3-14B": (engine(14.77), 4_414),
    "Qwen3-32B": (engine(32.76), 1_987),
    "gemma-3-27b-it": (engine(27.4), 1_724),
    "Qwen3-30B-A3B-Thinking-2507": (engine(30.5, 3.3), 2_977),
    "Qwen3-Next-80B-A3B-Thinking": (engine(80, 3), 2_034),
    "gpt-oss-20b": (engine(20.9, 3.6, weights_dtype="mxfp4"), 12_432),
    "gpt-oss-120b": (engine(116.8, 5.1, weights_dtype="mxfp4"), 3_138),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_rate_of_a_model_is_within_a_factor_of_two_of_the_published_one(name: str):
    needs, published = PUBLISHED[name]
    assert 0.5 < 1 / TokenRates().decode_seconds(needs) / published < 2


def test_time_follows_the_active_parameters_and_memory_all_of_them():
    dense, sparse = engine(100), engine(100, 10)
    assert dense.weight_gigabytes == sparse.weight_gigabytes == 200
    assert (dense.inactive_gigabytes, sparse.inactive_gigabytes) == (0, pytest.approx(180))
    assert TokenRates().prefill_seconds(dense) == pytest.approx(10 * TokenRates().prefill_seconds(sparse))
    free = TokenRates(host_microseconds=0, expert_microseconds=0)
    assert free.decode_seconds(dense) == pytest.approx(10 * free.decode_seconds(sparse))


def test_r1_of_671b_computes_with_37b_parameters():
    r1 = catalog.models()["R1-671B"]
    assert (r1.parameters, r1.computed_parameters, r1.weight_gigabytes) == (684.5, 37, 684.5)
    as_dense = r1.model_copy(update={"active_parameters": None})
    assert TokenRates().decode_seconds(as_dense) > 3 * TokenRates().decode_seconds(r1)


def test_active_parameters_are_no_part_of_an_identity():
    assert engine_identity(engine(100, 10)) == engine_identity(engine(100))
    assert "active_parameters" not in engine(100).model_dump()


def test_more_active_parameters_than_parameters_are_refused():
    with pytest.raises(ValidationError, match="can't exceed"):
        engine(10, 11)
