"""The doctor on attention, context and the memory of GPUs."""

import pytest
from transformers import LlamaConfig

from safechain_ray.catalog import models
from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.cluster.gpu_fit import KINDS_OF_GPUS, Gpus
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.doctor.model import check_shape, gpus_to_check
from safechain_ray.engines.gpus import Gpu, GpuReport

R1_32B = {
    "hidden_size": 5120,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "num_hidden_layers": 64,
    "max_position_embeddings": 131_072,
}


def examined(needs: EngineNeeds, gigabytes: float = 80, **config: int) -> dict[str, Finding]:
    found = check_shape(Subject("model"), needs, LlamaConfig(**R1_32B | config), [Gpus(gigabytes)])
    return {finding.check: finding for finding in found}


def test_a_model_that_agrees_with_the_catalog_is_well():
    findings = examined(models()["R1-32B"])
    assert list(findings) == ["context", "attention", "memory on 80 GB"]
    assert {finding.status for finding in findings.values()} == {"ok"}
    assert findings["memory on 80 GB"].detail.startswith("2 GPUs (tensor 2 parallel) of 80 GB for 65.5 GB of weights")


def test_without_the_models_config_memory_is_still_checked():
    findings = list(check_shape(Subject("model"), models()["R1-32B"], None, [Gpus(48), Gpus(80)]))
    assert [(finding.check, finding.status) for finding in findings] == [
        ("attention and context", "not checked"),
        ("memory on 48 GB", "ok"),
        ("memory on 80 GB", "ok"),
    ]


def test_another_attention_than_the_catalogs_fails():
    finding = examined(models()["R1-32B"], num_key_value_heads=40)["attention"]
    assert finding.status == "failed"
    assert "40 key-value heads of 128; the catalog has another" in finding.detail


def test_a_tensor_parallel_size_that_does_not_divide_the_heads_fails_with_those_that_do():
    needs = models()["R1-32B"].model_copy(update={"tensor_parallel_size": 6})
    finding = examined(needs)["memory on 80 GB"]
    assert (finding.status, finding.fix) == ("failed", "use one of 1, 2, 4, 8")


def test_a_context_that_the_model_does_not_have_fails():
    finding = examined(models()["R1-32B"], max_position_embeddings=4096)["context"]
    assert (finding.status, finding.fix) == ("failed", "set the engine's context_length to 4096 or less")


@pytest.mark.parametrize(("gigabytes", "status"), [(80, "ok"), (2, "failed")])
def test_a_model_that_gpus_do_not_hold_fails_with_those_that_do(gigabytes: float, status: str):
    finding = examined(models()["R1-32B"], gigabytes)[f"memory on {gigabytes} GB"]
    assert finding.status == status
    assert (finding.fix is not None) == (status == "failed")


def test_this_machines_gpus_are_checked_unless_others_are_asked_for():
    here = GpuReport(gpus=tuple(Gpu(place, f"GPU-{place}", "L4", 24 * 10**9, 0, (8, 9)) for place in range(2)))
    assert gpus_to_check(None, here) == (Gpus(24, a_node=2, in_all=2),)
    assert gpus_to_check(48, here) == (Gpus(48),)
    assert gpus_to_check(None, GpuReport()) == tuple(Gpus(gigabytes) for gigabytes in KINDS_OF_GPUS)
