"""Arguments of a vLLM engine, from the needs of a model, its device, and the file system of its weights."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from huggingface_hub.constants import HF_HUB_CACHE

from safechain_ray.engines.environment import NATIVE_ALL_REDUCE
from safechain_ray.engines.start import Device, EngineStart

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
