"""Waits for GPU memory that a predecessor is still giving back, before an engine starts.

vLLM does not start where less than `gpu_memory_utilization` of a GPU is free. The driver frees the memory of an engine
that was ended seconds after its processes are gone: between the stages of a run on one GPU, after an engine died, and
between the models of a sweep.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safechain_ray.engines.gpus import Gpu, GpuReport, gpus_of_this_process, read_gpus

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 1.0
NOTE_SECONDS = 30.0

GIB = 2**30

DEFAULT_SHARE = 0.92
"""vLLM's default of `gpu_memory_utilization` (vllm 0.25.1 to 0.33.0, config/cache.py)."""

MEMORY_ERRORS = (
    "Free memory on device",
    "Error in memory profiling",
    "CUDA out of memory",
    "torch.OutOfMemoryError",
    "CUDA error: out of memory",
)
"""What vLLM and torch log when other processes hold the memory, or give it back while the engine measures it."""


def memory_share(engine_kwargs: Mapping[str, object]) -> float:
    """The share of each GPU's memory that an engine takes."""
    share = engine_kwargs.get("gpu_memory_utilization")
    return float(share) if isinstance(share, int | float) else DEFAULT_SHARE


def short_gpus(gpus: Sequence[Gpu], share: float) -> tuple[Gpu, ...]:
    """The GPUs of which less than `share` is free; those that report no memory are left out."""
    return tuple(gpu for gpu in gpus if gpu.memory and gpu.free < share * gpu.memory)


def wait_for_memory(
    share: float,
    on_note: Callable[[str], None],
    patience: float = PATIENCE_SECONDS,
    read: Callable[[], GpuReport] = read_gpus,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when `share` of each GPU of this process is free, at the latest after `patience` seconds.

    `on_note` gets the processes that hold the memory, at once and every half a minute. The engine is started in any
    case: CUDA decides, and its error is the better one.
    """
    waited = 0.0
    while short := short_gpus(gpus_of_this_process(read()), share):
        if waited >= patience:
            on_note(f"Starting the engine without waiting any longer: {describe(short, share)}")
            return
        if waited % NOTE_SECONDS == 0:
            on_note(f"Waiting for GPU memory: {describe(short, share)}")
        sleep(POLL_SECONDS)
        waited += POLL_SECONDS


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


def failed_for_memory(log_file: Path, start: int) -> bool:
    """Whether an engine's log says so behind byte `start`; vLLM's own exception never names the cause."""
    if not log_file.exists():
        return False
    with log_file.open("rb") as log:
        log.seek(start)
        text = log.read().decode(errors="replace")
    return any(error in text for error in MEMORY_ERRORS)
