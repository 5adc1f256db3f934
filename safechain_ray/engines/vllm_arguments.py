"""The arguments that a vLLM engine is started with, from what a model needs and where it runs.

The kind of file system that a folder lies on, from the kernel's table of mounts.
"""

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


def filesystem_of(folder: Path, mounts: str | None = None) -> str:
    """The type of the innermost mount that holds `folder`, such as "ext4" or "fuse.mount-s3"; "" where none is known.

    `mounts` is the text of `/proc/self/mounts`: device, mount point, type and options, with blanks as `\\040`.
    """
    if mounts is None:
        mounts = MOUNTS.read_text() if MOUNTS.exists() else ""
    resolved = folder.expanduser().resolve()
    innermost, found = Path("/"), ""
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        mount = Path(OCTAL.sub(lambda escape: chr(int(escape[1], 8)), place))
        # Of two mounts on one place the later one is seen.
        if resolved.is_relative_to(mount) and mount.is_relative_to(innermost):
            innermost, found = mount, kind
    return found


def is_fuse(filesystem: str) -> bool:
    """Whether a process in user space serves the files: buckets that are mounted (Mountpoint for S3, gcsfuse)."""
    return filesystem.partition(".")[0] in ("fuse", "fuseblk")


OWN_WAYS_TO_LOAD = {"safetensors_load_strategy", "load_format", "model_loader_extra_config"}

"""Keys of `engine_kwargs` that say how weights are read."""

QUANTIZATIONS = {"fp8": "fp8_per_tensor"}

"""vLLM's names of quantizations while loading (0.25.1 to 0.33.0, model_executor/layers/quantization/online)."""

SHARED_BATCHED_TOKENS = 8_192

"""Of an engine on a part of a GPU: the default of vLLM's offline class on GPUs of less than 70 GB."""

SHARE_FOR_WEIGHTS = 0.9

"""Of the available memory: vLLM's own bound for reading ahead."""


def engine_arguments(start: EngineStart, weights: str, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The keyword arguments of `AsyncEngineArgs`; the catalog's and the user's `engine_kwargs` win over all others.

    `environment` is that of `engine_environment`, in which the engine starts.
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
            # vLLM 0.25.1 takes FlashInfer's all-reduce by this fusion even where the variables are set.
            arguments["compilation_config"] = {"pass_config": {"fuse_allreduce_rms": False}}
    arguments |= device_arguments(start.device, needs.context_length, start.max_running)
    if start.device == "cuda" and start.executor == "mp" and not needs.engine_kwargs.keys() & OWN_WAYS_TO_LOAD:
        arguments |= loading_arguments(weights, needs.weight_gigabytes)
    return arguments | needs.engine_kwargs


def loading_arguments(weights: str, gigabytes: float) -> dict[str, Any]:
    """How weights are read: ahead and in large pieces from a bucket that is mounted, where memory holds them.

    vLLM maps the files into memory, and each page fault of a FUSE mount is a request of its own. It reads ahead by
    itself on NFS and Lustre only (0.25.1 to 0.33.0, model_executor/model_loader/weight_utils.py).
    """
    folder = Path(weights) if Path(weights).is_dir() else Path(HF_HUB_CACHE)
    if not is_fuse(filesystem_of(folder)) or gigabytes * 1e9 > SHARE_FOR_WEIGHTS * available_memory():
        return {}
    return {"safetensors_load_strategy": "prefetch"}


def available_memory(limits: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that this process may still take: of the machine, and of its container (cgroup version 2)."""
    available = float(psutil.virtual_memory().available)
    try:
        limit, used = ((limits / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return available
    return available if limit == "max" else min(available, float(limit) - float(used))


def device_arguments(device: Device, context_length: int, max_running: int) -> dict[str, Any]:
    """What a device asks for.

    On CPU a seeded request whose prompt is prefilled in pieces kills the engine ("CPU Generator does not use
    offset"), so prompts stay whole there; without that, chunked prefill stays vLLM's own choice.
    """
    if device == "cuda":
        return {}
    whole_prompts = max(context_length, 64 * max_running)
    return {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": whole_prompts}
