"""Memory plan: exact items, and monotone in every requirement."""

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray import catalog
from safechain_ray.catalog.model_shapes import ModelShape
from safechain_ray.commands.finetune.plan import GIB, MemoryPlan, plan_memory
from safechain_ray.config import LoraOptions, TrainingOptions

SHAPES = st.sampled_from(list(catalog.shapes().values()))
OPTIONS = st.builds(
    TrainingOptions,
    lora=st.sampled_from([None, LoraOptions(rank=1), LoraOptions(rank=64)]),
    precision=st.sampled_from(["bfloat16", "float32"]),
    gradient_checkpointing=st.booleans(),
)
LENGTHS = st.integers(64, 65536)
SHARDS = st.integers(1, 64)


def items(plan: MemoryPlan) -> dict[str, int]:
    return {item.name: item.bytes for item in plan.items}


@given(SHAPES, OPTIONS, LENGTHS, SHARDS)
def test_the_total_is_the_sum_of_what_is_named_and_nothing_is_below_zero(
    shape: ModelShape, options: TrainingOptions, length: int, shards: int
):
    plan = plan_memory(shape, options, length, shards)
    assert all(size >= 0 for size in items(plan).values())
    assert plan.gigabytes == sum(items(plan).values()) / GIB
    assert plan.fits(plan.gigabytes)
    assert not plan.fits(plan.gigabytes * 0.99)


@given(SHAPES, OPTIONS, LENGTHS, st.integers(2, 32))
def test_more_shards_never_take_more(shape: ModelShape, options: TrainingOptions, length: int, shards: int):
    assert (
        plan_memory(shape, options, length, 2 * shards).gigabytes
        <= plan_memory(shape, options, length, shards).gigabytes
    )


@given(SHAPES, OPTIONS, LENGTHS, SHARDS)
def test_longer_sequences_take_more_and_checkpointing_less(
    shape: ModelShape, options: TrainingOptions, length: int, shards: int
):
    def total(length: int, **changed: bool) -> float:
        return plan_memory(shape, options.model_copy(update=changed), length, shards).gigabytes

    assert total(2 * length) > total(length)
    assert total(length, gradient_checkpointing=True) <= total(length, gradient_checkpointing=False)


@given(SHAPES, LENGTHS, SHARDS)
def test_adapters_take_less_than_all_weights(shape: ModelShape, length: int, shards: int):
    adapters = TrainingOptions(lora=LoraOptions(rank=16))
    assert (
        plan_memory(shape, adapters, length, shards).gigabytes
        < plan_memory(shape, TrainingOptions(), length, shards).gigabytes
    )


@given(SHAPES, OPTIONS, LENGTHS, SHARDS)
def test_unsharded_processes_hold_as_much_however_many_they_are(
    shape: ModelShape, options: TrainingOptions, length: int, shards: int
):
    alone = plan_memory(shape, options, length, 1)
    assert items(plan_memory(shape, options, length, shards, sharded=False)) == items(alone)


def test_all_weights_take_16_bytes_a_parameter_shared_by_the_shards():
    shape = catalog.shapes()["R1-7B"]
    plan = items(plan_memory(shape, TrainingOptions(), 16384, 8))
    states = plan["weights"] + plan["gradients"] + plan["AdamW's two states"]
    assert abs(states - 16 * shape.parameters / 8) < 8


def test_what_the_documentation_says_fits():
    def total(model: str, shards: int, lora: LoraOptions | None = None) -> float:
        return plan_memory(catalog.shapes()[model], TrainingOptions(lora=lora), 16384, shards).gigabytes

    for model in ("R1-7B", "R1-8B"):
        assert total(model, 8) < total(model, 4) < 80
        assert total(model, 8) > 24
        assert total(model, 8, LoraOptions()) < 24
