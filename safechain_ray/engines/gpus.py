"""GPUs of this machine as NVML reports them: memory, compute capability, driver, processes.

NVML needs no CUDA context: reading costs milliseconds, takes no GPU memory, and works beside running engines.

Waits for GPU memory that a predecessor is still giving back, before an engine starts.

vLLM does not start where less than `gpu_memory_utilization` of a GPU is free. The driver frees an engine's memory
seconds after its processes have ended. The next engine meets that between the stages of a run on one GPU, after an
engine died, and between the models of a sweep.
"""

import fcntl
import os
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


PATIENCE_SECONDS = 120.0

POLL_SECONDS = 1.0

NOTE_SECONDS = 30.0

GIB = 2**30

SHARE_ARGUMENT = "gpu_memory_utilization"

DEFAULT_SHARE = 0.92

"""vLLM's default of `gpu_memory_utilization` (vllm 0.25.1 to 0.33.0, config/cache.py)."""

OTHERS_HELD_MEMORY = re.compile(r"Free memory on device .* on startup is less than|Error in memory profiling")

"""vLLM's errors where other processes hold memory, or give it back while the engine measures it."""

OUT_OF_MEMORY = re.compile(r"CUDA out of memory(?! occurred when warming up)|CUDA error: out of memory")

"""Other processes may be the cause, or a model that is too large for the GPU."""


def memory_share(engine_kwargs: Mapping[str, object], planned: float | None = None) -> float:
    """The share of each GPU's memory that an engine takes: the user's, else the planned one, else vLLM's default."""
    share = engine_kwargs.get(SHARE_ARGUMENT)
    return float(share) if isinstance(share, int | float) else planned or DEFAULT_SHARE


@contextmanager
def alone_on_gpu(gpus: Sequence[Gpu]) -> Iterator[None]:
    """One start at a time on these GPUs. A killed process lets go.

    vLLM measures free memory while it starts. A neighbour that loads weights meanwhile would count as its own use.
    """
    with ExitStack() as held:
        for gpu in sorted(gpus, key=lambda gpu: gpu.uuid):
            lock = held.enter_context(open(Path(gettempdir(), f"safechain-ray-{os.getuid()}-{gpu.uuid}.lock"), "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def short_gpus(gpus: Sequence[Gpu], share: float) -> tuple[Gpu, ...]:
    """The GPUs with less than `share` of their memory free; those that report no memory are left out."""
    return tuple(gpu for gpu in gpus if gpu.memory and gpu.free < share * gpu.memory)


def wait_for_memory(
    share: float,
    on_note: Callable[[str], None],
    patience: float = PATIENCE_SECONDS,
    read: Callable[[], GpuReport] = read_gpus,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until `share` of each GPU of this process is free, at most `patience` seconds; says whether it is.

    `on_note` gets the processes that hold the memory, at once and every half a minute. The engine is started in any
    case: CUDA decides, and its error is the better one.
    """
    waited = 0.0
    while short := short_gpus(gpus_of_this_process(read()), share):
        if waited >= patience:
            on_note(f"GPU memory is still in use after {patience:g} s; starting anyway: {describe(short, share)}")
            return False
        if waited % NOTE_SECONDS == 0:
            on_note(f"Waiting for GPU memory: {describe(short, share)}")
        sleep(POLL_SECONDS)
        waited += POLL_SECONDS
    return True


def describe(gpus: Sequence[Gpu], share: float) -> str:
    return "; ".join(
        f"GPU {gpu.index} has {gpu.free / GIB:.1f} of {gpu.memory / GIB:.1f} GiB free, {share * gpu.memory / GIB:.1f} "
        f"are needed; held by {holders(gpu)}"
        for gpu in gpus
    )


def holders(gpu: Gpu) -> str:
    """The processes that hold the GPU's memory, for messages."""
    listed = [
        f"{process.name} (pid {process.pid}"
        + (f", {process.memory / GIB:.1f} GiB)" if process.memory is not None else ")")
        for process in gpu.processes
    ]
    return ", ".join(listed) or "processes that are not visible here"


def failed_for_memory(log_file: Path, start: int, was_free: bool) -> bool:
    """Whether a start failed as other processes held memory, by the engine's log behind byte `start`.

    vLLM's own exception never names the cause. Where the memory `was_free`, a model that does not fit is too large.
    """
    if not log_file.exists():
        return False
    with log_file.open("rb") as log:
        log.seek(start)
        text = log.read().decode(errors="replace")
    return bool(OTHERS_HELD_MEMORY.search(text) or (not was_free and OUT_OF_MEMORY.search(text)))
