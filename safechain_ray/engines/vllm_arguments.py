"""The arguments that a vLLM engine is started with, from what a model needs and where it runs."""

import os
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HUB_CACHE

from safechain_ray.engines.environment import NATIVE_ALL_REDUCE
from safechain_ray.engines.filesystems import filesystem_of, is_fuse
from safechain_ray.engines.start import Device, EngineStart


def engine_arguments(start: EngineStart, weights: str) -> dict[str, Any]:
    """The keyword arguments of `AsyncEngineArgs`; the catalog's and the user's `engine_kwargs` win over all others."""
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
    if needs.gpus > 1:
        arguments["distributed_executor_backend"] = start.executor
        if start.batch_invariant or os.environ.items() >= NATIVE_ALL_REDUCE.items():
            # vLLM 0.25.1 takes FlashInfer's all-reduce by this fusion, whatever the variables.
            arguments["compilation_config"] = {"pass_config": {"fuse_allreduce_rms": False}}
    arguments |= device_arguments(start.device, needs.context_length, start.max_running)
    if start.device == "cuda":
        arguments |= loading_arguments(weights)
    return arguments | needs.engine_kwargs


def loading_arguments(weights: str) -> dict[str, Any]:
    """How weights are read: ahead and in large pieces from a bucket that is mounted.

    vLLM maps the files into memory, and each page fault of a FUSE mount is a request of its own. It reads ahead by
    itself on NFS and Lustre only (0.25.1 to 0.33.0, model_executor/model_loader/weight_utils.py).
    """
    folder = Path(weights) if Path(weights).is_dir() else Path(HF_HUB_CACHE)
    return {"safetensors_load_strategy": "prefetch"} if is_fuse(filesystem_of(folder)) else {}


def device_arguments(device: Device, context_length: int, max_running: int) -> dict[str, Any]:
    """What a device asks for.

    On CPU a seeded request whose prompt is prefilled in pieces kills the engine ("CPU Generator does not use
    offset"), so prompts stay whole there; without that, chunked prefill stays vLLM's own choice.
    """
    if device == "cuda":
        return {}
    whole_prompts = max(context_length, 64 * max_running)
    return {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": whole_prompts}
