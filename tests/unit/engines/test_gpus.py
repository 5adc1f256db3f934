"""GPUs as NVML reports them, on pretended machines."""

import pytest

from safechain_ray.engines.gpus import Gpu, GpuProcess, GpuReport, read_gpus, visible_gpus
from tests.pretended_nvml import GIB, PretendedGpu, PretendedNvml


def two_gpus() -> tuple[Gpu, ...]:
    return read_gpus(PretendedNvml([PretendedGpu(uuid="GPU-aa11"), PretendedGpu(uuid="GPU-bb22")])).gpus


def test_a_machine_without_a_driver_has_no_gpus_and_a_problem():
    assert read_gpus(PretendedNvml(starts=False)) == GpuReport(
        problem="NVML can't be read: NVML Shared Library Not Found"
    )


def test_memory_capability_and_the_processes_that_hold_memory_are_read():
    gpu = PretendedGpu(
        memory=24 * GIB, used=9 * GIB, capability=(8, 9), name="NVIDIA L4", processes={7: 9 * GIB, 8: None}
    )
    nvml = PretendedNvml([gpu], names={7: "python"})

    report = read_gpus(nvml)

    processes = (GpuProcess(7, "python", 9 * GIB), GpuProcess(8, "?", None))
    assert report.driver == "580.95.05"
    assert report.gpus == (Gpu(0, "GPU-0", "NVIDIA L4", 24 * GIB, 15 * GIB, (8, 9), processes=processes),)
    assert nvml.opened == 0


def test_a_gpu_that_has_no_mig_mode_is_read_as_one():
    (gpu,) = read_gpus(PretendedNvml([PretendedGpu(has_mig=False)])).gpus
    assert not gpu.is_mig_slice


def test_slices_are_read_in_the_place_of_their_gpu():
    gpus = read_gpus(PretendedNvml([PretendedGpu(slices=[10 * GIB, 20 * GIB])])).gpus
    assert [(gpu.memory, gpu.uuid, gpu.is_mig_slice) for gpu in gpus] == [
        (10 * GIB, "MIG-0", True),
        (20 * GIB, "MIG-1", True),
    ]


def test_memory_that_is_not_reported_is_zero():
    (gpu,) = read_gpus(PretendedNvml([PretendedGpu(memory=None)])).gpus
    assert (gpu.memory, gpu.free) == (0, 0)


@pytest.mark.parametrize(
    ("visible", "indexes"),
    [
        (None, [0, 1]),
        ("", []),
        ("-1", []),
        ("1", [1]),
        ("1, 0", [1, 0]),
        ("0,7,1", [0]),
        ("GPU-bb", [1]),
        ("gpu-aa11", [0]),
        ("nonsense", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible: str | None, indexes: list[int]):
    assert [gpu.index for gpu in visible_gpus(two_gpus(), visible)] == indexes


def test_a_slice_is_named_by_its_uuid_and_the_first_one_by_its_gpus_index():
    slices = read_gpus(PretendedNvml([PretendedGpu(slices=[10 * GIB, 20 * GIB])])).gpus

    assert [gpu.memory for gpu in visible_gpus(slices, "0")] == [10 * GIB]
    assert [gpu.memory for gpu in visible_gpus(slices, "MIG-1")] == [20 * GIB]
