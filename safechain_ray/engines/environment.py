"""Environment variables of a vLLM engine, set in the worker before vLLM is imported and inherited by its processes."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from safechain_ray.engines.start import EngineStart

QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "INFO", "TOKENIZERS_PARALLELISM": "false"}

NATIVE_SAMPLER = {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
"""vLLM's start-up samples without seeds, so FlashInfer compiles its sampler with nvcc and ninja.

Without a CUDA toolkit the compilation fails and ends the start (vllm-project/vllm#49497). No request here needs that
sampler: each sampled request has a seed, and seeded requests use vLLM's own sampler.
"""

ONE_CORE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
"""Keeps vLLM's executor `uni` on a CPU, where vLLM would replace it by a worker process.

The worker and the engine's core wait for each other by spinning, which costs a tiny model more than its computation.
AsyncLLM's core has a process of its own all the same.
"""


def engine_environment(start: EngineStart, current: Mapping[str, str]) -> dict[str, str]:
    """The variables to set before an engine of `start` starts, given the `current` ones.

    The user's VLLM_USE_FLASHINFER_SAMPLER wins. The `bin` folder of this Python comes first on PATH: libraries of the
    engine look for `ninja` there, and an environment that was never activated is not on PATH.
    """
    changes = QUIET | {"PATH": path_with_own_programs(current.get("PATH", os.defpath))}
    if start.device == "cuda":
        return NATIVE_SAMPLER | {name: current[name] for name in NATIVE_SAMPLER if name in current} | changes
    changes["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, round(start.kv_cache_gigabytes)))
    if start.needs.engine_kwargs.get("distributed_executor_backend") == "uni":
        changes |= ONE_CORE_PROCESS
    return changes


def path_with_own_programs(path: str, python: str = sys.executable) -> str:
    """`path` with the folder of `python` in it, at the front where it was missing."""
    own = str(Path(python).parent)
    folders = path.split(os.pathsep)
    return path if own in folders else os.pathsep.join([own, *folders])
