"""The doctor on sizes: attention heads, layers, context and memory."""

import pytest
from transformers import LlamaConfig

from safechain_ray.catalog import models
from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.pipelines.doctor.finding import Finding, Subject
from safechain_ray.pipelines.doctor.shape import check_shape


def examined(needs: EngineNeeds, gpu_memory: int | None = None, **config: int) -> dict[str, Finding]:
    shape = {
        "hidden_size": 5120,
        "num_attention_heads": 40,
        "num_hidden_layers": 64,
        "max_position_embeddings": 131_072,
        **config,
    }
    found = check_shape(Subject("model"), needs, LlamaConfig(**shape), gpu_memory)
    return {finding.check: finding for finding in found}


def test_every_listed_size_of_gpu_is_checked_or_the_one_that_was_asked_for():
    listed = examined(models()["R1-32B"])
    assert {finding.status for finding in listed.values()} == {"ok"}
    assert "parallel on 48 GB" in listed
    assert "parallel on 80 GB" in listed
    assert list(examined(models()["R1-32B"], 80)) == ["context", "parallel on 80 GB", "memory on 80 GB"]


def test_without_the_models_config_memory_is_still_checked():
    findings = list(check_shape(Subject("model"), models()["R1-32B"], None, None))
    assert [(finding.check, finding.status) for finding in findings] == [
        ("heads and context", "not checked"),
        ("memory on 48 GB", "ok"),
        ("memory on 80 GB", "ok"),
    ]


def test_a_tensor_parallel_size_that_does_not_divide_the_heads_fails_with_one_that_does():
    finding = examined(models()["R1-32B"].model_copy(update={"tensor_parallel_size": 6}), 80)["parallel on 80 GB"]
    assert (finding.status, finding.detail) == ("failed", "40 attention heads can't be split in 6")
    assert finding.mend == "set tensor_parallel_size to a divisor, such as 5"


def test_more_pipeline_stages_than_layers_fail():
    needs = models()["R1-32B"].model_copy(update={"pipeline_parallel_size": 4})
    assert examined(needs, 80, num_hidden_layers=3)["parallel on 80 GB"].status == "failed"


def test_a_context_that_the_model_does_not_have_fails():
    finding = examined(models()["R1-32B"], 80, max_position_embeddings=4096)["context"]
    assert (finding.status, finding.mend) == ("failed", "set the engine's context_length to 4096 or less")


@pytest.mark.parametrize(("gpu_memory", "status"), [(80, "ok"), (24, "failed")])
def test_weights_that_leave_a_gpu_no_room_for_the_cache_fail(gpu_memory: int, status: str):
    assert examined(models()["R1-32B"], gpu_memory)[f"memory on {gpu_memory} GB"].status == status
