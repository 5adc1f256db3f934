"""GPUs of this machine as NVML reports them: memory, compute capability, driver, processes.

NVML needs no CUDA context: reading costs milliseconds, takes no GPU memory, and works beside running engines.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pynvml

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory of a GPU; `memory` in bytes, None where the driver does not report it."""

    pid: int
    name: str
    memory: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or one slice of a GPU in MIG mode. `memory` and `free` are bytes, `index` is NVML's.

    `capability` is the CUDA compute capability, such as (9, 0). `processes` are those that this container can see.
    """

    index: int
    uuid: str
    name: str
    memory: int
    free: int
    capability: tuple[int, int]
    is_mig_slice: bool = False
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuReport:
    """All GPUs of the machine and the driver's version; `problem` says why NVML could not be read."""

    driver: str | None = None
    gpus: tuple[Gpu, ...] = ()
    problem: str | None = None


def read_gpus(nvml: Any = pynvml) -> GpuReport:
    """What NVML reports now. A machine without a driver gives a report without GPUs and with the problem."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return GpuReport(problem=f"NVML can't be read: {error}")
    try:
        driver = nvml.nvmlSystemGetDriverVersion()
        gpus = tuple(gpu for index in range(nvml.nvmlDeviceGetCount()) for gpu in _gpus_at(index, nvml))
        return GpuReport(driver, gpus)
    except nvml.NVMLError as error:
        return GpuReport(problem=f"NVML can't be read: {error}")
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def visible_gpus(gpus: Sequence[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to a process whose CUDA_VISIBLE_DEVICES is `visible`; None shows all.

    As CUDA reads it: indexes, or prefixes of UUIDs (GPU-…, MIG-…), up to the first that names no GPU. Indexes are
    taken as NVML's, as Ray and vLLM take them. The index of a GPU in MIG mode shows its first slice.
    """
    if visible is None:
        return tuple(gpus)
    shown: list[Gpu] = []
    for name in (part.strip() for part in visible.split(",")):
        found = [gpu for gpu in gpus if _is_named(gpu, name)]
        if not found:
            break
        shown += found[:1]
    return tuple(shown)


def gpus_of_this_process(report: GpuReport) -> tuple[Gpu, ...]:
    """The GPUs that this process may use. Ray sets CUDA_VISIBLE_DEVICES in its workers."""
    return visible_gpus(report.gpus, os.environ.get(VISIBLE_DEVICES))


def smallest_memory(gpus: Sequence[Gpu]) -> float | None:
    """Memory of the smallest GPU, in 1e9 bytes; None where no GPU reports any."""
    return min((gpu.memory / 1e9 for gpu in gpus if gpu.memory), default=None)


def _is_named(gpu: Gpu, name: str) -> bool:
    if name.isdigit():
        return gpu.index == int(name)
    return bool(name) and gpu.uuid.lower().startswith(name.lower())


def _gpus_at(index: int, nvml: Any) -> Iterator[Gpu]:
    """The GPU at NVML's `index`, or its slices in MIG mode."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    slices = list(_mig_slices(handle, nvml))
    for each in slices or [handle]:
        memory = _memory(each, nvml)
        yield Gpu(
            index=index,
            uuid=nvml.nvmlDeviceGetUUID(each),
            name=nvml.nvmlDeviceGetName(each),
            memory=memory[0],
            free=memory[1],
            capability=(major, minor),
            is_mig_slice=bool(slices),
            processes=tuple(_processes(each, nvml)),
        )


def _mig_slices(handle: Any, nvml: Any) -> Iterator[Any]:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:  # GPUs that have no MIG mode
        return
    if current != nvml.NVML_DEVICE_MIG_ENABLE:
        return
    for place in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(nvml.NVMLError):  # places without a slice
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)


def _memory(handle: Any, nvml: Any) -> tuple[int, int]:
    """Total and free bytes; zeros where CPU and GPU share their memory and NVML reports none."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:
        return 0, 0
    return int(memory.total), int(memory.free)


def _processes(handle: Any, nvml: Any) -> Iterator[GpuProcess]:
    try:
        running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError:
        return
    for process in running:
        name = "?"
        with suppress(nvml.NVMLError):  # a process of another container
            name = nvml.nvmlSystemGetProcessName(process.pid)
        yield GpuProcess(process.pid, name, process.usedGpuMemory)
