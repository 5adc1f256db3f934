"""The environment variables of an engine's processes."""

import os
from pathlib import Path

import pytest

from safechain_ray.catalog import models
from safechain_ray.engines.environment import engine_environment, path_with_own_programs
from safechain_ray.engines.start import Device, EngineStart


def environment(device: Device, model: str = "R1-7B", **current: str) -> dict[str, str]:
    start = EngineStart(models()[model], device, Path("/no/log"), kv_cache_gigabytes=2.4)
    return engine_environment(start, current)


def test_a_gpu_engine_compiles_no_sampler_at_its_start():
    """Read by `flashinfer_sampler_supported` in v1/sample/ops/topk_topp_sampler.py, vLLM 0.25.1 to 0.33.0."""
    assert environment("cuda")["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert "VLLM_USE_FLASHINFER_SAMPLER" not in environment("cpu")


def test_the_users_choice_of_sampler_wins():
    assert environment("cuda", VLLM_USE_FLASHINFER_SAMPLER="1")["VLLM_USE_FLASHINFER_SAMPLER"] == "1"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_programs_of_an_environment_that_is_not_activated_are_found(device: Device):
    assert environment(device, PATH="/usr/bin")["PATH"] == path_with_own_programs("/usr/bin")
    assert environment(device)["PATH"].endswith(os.defpath)


def test_own_programs_come_first_on_the_path_and_only_once():
    added = path_with_own_programs("/usr/bin:/bin", "/opt/env/bin/python")

    assert added == "/opt/env/bin:/usr/bin:/bin"
    assert path_with_own_programs(added, "/opt/env/bin/python") == added


def test_a_cpu_engine_gets_whole_gigabytes_of_cache():
    assert environment("cpu")["VLLM_CPU_KVCACHE_SPACE"] == "2"


def test_a_tiny_cpu_model_stays_in_the_process_of_its_engine_core():
    assert environment("cpu", "demo-reasoner")["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in environment("cpu", "R1-1.5B")
