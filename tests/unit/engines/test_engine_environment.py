"""The environment variables of an engine's processes."""

import os
from pathlib import Path

import pytest

from safechain_ray.catalog import models
from safechain_ray.engines.start import Device, EngineStart
from safechain_ray.engines.vllm_environment import (
    KernelSources,
    engine_environment,
    nvcc_path,
    nvcc_version,
    path_with_own_programs,
)

TOOLKIT = KernelSources(has_nvcc=True, has_flashinfer_kernels=False)
BUILT_KERNELS = KernelSources(has_nvcc=False, has_flashinfer_kernels=True)
NEITHER = KernelSources(has_nvcc=False, has_flashinfer_kernels=False)


def environment(
    device: Device, model: str = "R1-7B", kernels: KernelSources = NEITHER, **current: str
) -> dict[str, str]:
    start = EngineStart(models()[model], device, Path("/no/log"), kv_cache_gigabytes=2.4)
    return engine_environment(start, current, kernels)


def test_a_gpu_engine_compiles_no_sampler_at_its_start():
    """Read by `flashinfer_sampler_supported` in v1/sample/ops/topk_topp_sampler.py, vLLM 0.25.1 to 0.33.0."""
    assert environment("cuda")["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert "VLLM_USE_FLASHINFER_SAMPLER" not in environment("cpu")


@pytest.mark.parametrize(
    ("kernels", "all_reduce", "deep_gemm"), [(TOOLKIT, None, None), (BUILT_KERNELS, None, "0"), (NEITHER, "0", "0")]
)
def test_without_a_compiler_no_kernel_is_compiled_later(
    kernels: KernelSources, all_reduce: str | None, deep_gemm: str | None
):
    """cuda_communicator.py (0.32.0: line 70) and utils/deep_gemm.py read the variables; both compile with nvcc."""
    found = environment("cuda", kernels=kernels)
    assert found.get("VLLM_ALLREDUCE_USE_FLASHINFER") == all_reduce
    assert found.get("VLLM_USE_DEEP_GEMM") == deep_gemm


@pytest.mark.parametrize("name", ["VLLM_USE_FLASHINFER_SAMPLER", "VLLM_ALLREDUCE_USE_FLASHINFER", "VLLM_USE_DEEP_GEMM"])
def test_the_users_choice_of_kernels_wins(name: str):
    assert environment("cuda", **{name: "1"})[name] == "1"


def pretended_nvcc(folder: Path, answer: str) -> Path:
    folder.mkdir(parents=True)
    nvcc = folder / "nvcc"
    nvcc.write_text(f"#!/bin/sh\necho '{answer}'\n")
    nvcc.chmod(0o755)
    return nvcc


def test_a_compiler_is_looked_for_where_flashinfer_looks(tmp_path: Path):
    """vllm 0.32.0, utils/flashinfer.py `_flashinfer_nvcc_path`: CUDA_HOME is the only place where it is set."""
    on_path = pretended_nvcc(tmp_path / "bin", "")
    path = {"PATH": str(tmp_path / "bin")}

    assert nvcc_path(path) == str(on_path)
    assert nvcc_path({**path, "CUDA_PATH": "/cuda"}) == "/cuda/bin/nvcc"
    assert nvcc_path({**path, "CUDA_PATH": "/cuda", "CUDA_HOME": "/home"}) == "/home/bin/nvcc"
    assert nvcc_path({"PATH": "/none"}) == "/usr/local/cuda/bin/nvcc"


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("Cuda compilation tools, release 13.0, V13.0.88", (13, 0)),
        ("Cuda compilation tools, release 12.0, V12.0.140", (12, 0)),
        ("nvcc: command not understood", (0, 0)),
    ],
)
def test_an_old_compiler_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, version: tuple[int, int]
):
    nvcc = pretended_nvcc(tmp_path / "cuda" / "bin", answer)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))

    assert nvcc_version(str(nvcc)) == version
    assert KernelSources.here().has_nvcc == (version[0] == 13)
    assert nvcc_version(str(tmp_path / "none")) == (0, 0)


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


def test_batch_invariance_is_a_variable_of_gpu_engines():
    start = EngineStart(models()["R1-7B"], "cuda", Path("/no/log"), batch_invariant=True)
    assert engine_environment(start, {"VLLM_BATCH_INVARIANT": "0"}, TOOLKIT)["VLLM_BATCH_INVARIANT"] == "1"
    assert "VLLM_BATCH_INVARIANT" not in environment("cuda")
