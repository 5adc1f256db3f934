"""GPUs of this machine as NVML reports them, and the wait for free GPU memory before an engine starts.

NVML needs no CUDA context: a read takes milliseconds, uses no GPU memory, and works beside running engines.

vLLM does not start where less than `gpu_memory_utilization` of a GPU is free. But the driver frees an engine's memory
only seconds after its processes have ended. Without `wait_for_memory`, the next engine would fail between the stages of
a run on one GPU, after a crash, and between the models of a sweep.
"""

import fcntl
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pynvml

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"

GIB = 2**30

MEMORY_TIMEOUT = 120.0
"""Seconds to wait for GPU memory before an engine is started anyway."""

POLL_INTERVAL = 1.0

NOTE_INTERVAL = 30.0

SHARE_ARGUMENT = "gpu_memory_utilization"

DEFAULT_SHARE = 0.92
"""vLLM's default of `gpu_memory_utilization` (vllm 0.25.1 to 0.33.0, config/cache.py)."""

MEMORY_IN_USE = re.compile(r"Free memory on device .* on startup is less than|Error in memory profiling")
"""vLLM's errors where other processes use GPU memory, or release it while the engine measures it."""

OUT_OF_MEMORY = re.compile(r"CUDA out of memory(?! occurred when warming up)|CUDA error: out of memory")
"""Errors of other processes' memory, or of a model that is too large for the GPU."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that uses memory of a GPU. `memory` is in bytes; None where the driver does not report it."""

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
    """All GPUs of the machine and the driver's version. `problem` is the reason why NVML could not be read."""

    driver: str | None = None
    gpus: tuple[Gpu, ...] = ()
    problem: str | None = None


def read_gpus(nvml: Any = pynvml) -> GpuReport:
    """The current report of NVML. Without a driver the report has no GPUs, and has the problem."""
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

    As in CUDA, the names are indexes or prefixes of UUIDs (GPU-…, MIG-…), up to the first that matches no GPU. Indexes
    are NVML's, as in Ray and vLLM. The index of a GPU in MIG mode shows its first slice.
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
    """Memory of the smallest GPU in GB (1e9 bytes); None where no GPU reports its memory."""
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
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(nvml.NVMLError):  # an index without a slice
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)


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


def memory_share(engine_kwargs: Mapping[str, object], planned: float | None = None) -> float:
    """An engine's share of each GPU's memory: the user's, else the planned share, else vLLM's default."""
    share = engine_kwargs.get(SHARE_ARGUMENT)
    return float(share) if isinstance(share, int | float) else planned or DEFAULT_SHARE


@contextmanager
def alone_on_gpu(gpus: Sequence[Gpu]) -> Iterator[None]:
    """Lock these GPUs, so that engines start one at a time. The lock of a killed process is released.

    vLLM measures free memory during its start. Weights that another engine loads meanwhile would count as its own.
    """
    with ExitStack() as locks:
        for gpu in sorted(gpus, key=lambda gpu: gpu.uuid):
            lock = locks.enter_context(open(Path(gettempdir(), f"safechain-ray-{os.getuid()}-{gpu.uuid}.lock"), "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def short_gpus(gpus: Sequence[Gpu], share: float) -> tuple[Gpu, ...]:
    """The GPUs with less than `share` of their memory free; those that report no memory are left out."""
    return tuple(gpu for gpu in gpus if gpu.memory and gpu.free < share * gpu.memory)


def wait_for_memory(
    share: float,
    on_note: Callable[[str], None],
    timeout: float = MEMORY_TIMEOUT,
    read: Callable[[], GpuReport] = read_gpus,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until `share` of each GPU of this process is free, at most `timeout` seconds; returns whether it is.

    `on_note` receives the processes that use the memory, immediately and every 30 seconds. After the timeout the engine
    is started anyway, as CUDA's own error is more precise.
    """
    waited = 0.0
    while short := short_gpus(gpus_of_this_process(read()), share):
        if waited >= timeout:
            on_note(
                f"GPU memory is still in use on node {platform.node()} after {timeout:g} s: {describe(short, share)}. "
                "The engine is started anyway, and may fail. Fix: end the processes that use the memory."
            )
            return False
        if waited % NOTE_INTERVAL == 0:
            on_note(
                f"Waiting for GPU memory on node {platform.node()}: {describe(short, share)}. "
                f"The engine is started after {timeout:g} s at the latest."
            )
        sleep(POLL_INTERVAL)
        waited += POLL_INTERVAL
    return True


def describe(gpus: Sequence[Gpu], share: float) -> str:
    return "; ".join(
        f"GPU {gpu.index} has {gpu.free / GIB:.1f} of {gpu.memory / GIB:.1f} GiB free, {share * gpu.memory / GIB:.1f} "
        f"are needed; used by {holders(gpu)}"
        for gpu in gpus
    )


def holders(gpu: Gpu) -> str:
    """The processes that use the GPU's memory, for messages."""
    listed = [
        f"{process.name} (pid {process.pid}"
        + (f", {process.memory / GIB:.1f} GiB)" if process.memory is not None else ")")
        for process in gpu.processes
    ]
    return ", ".join(listed) or "processes that are not visible here"


def failed_for_memory(log_file: Path, start: int, was_free: bool) -> bool:
    """Whether a start failed because other processes used the memory, by the engine's log from byte `start` on.

    vLLM's own exception does not name the cause. Where the memory `was_free`, a model that does not fit is too large.
    """
    if not log_file.exists():
        return False
    with log_file.open("rb") as log:
        log.seek(start)
        text = log.read().decode(errors="replace")
    return bool(MEMORY_IN_USE.search(text) or (not was_free and OUT_OF_MEMORY.search(text)))
