"""Divides one GPU's memory between the engines of a run, so that a machine with one GPU streams.

vLLM's `gpu_memory_utilization` is a share of the whole GPU for each engine. The CUDA context of an engine comes on top.
"""

from collections.abc import Sequence
from dataclasses import replace

from safechain_ray.cluster.gpu_fit import MODEL_CONTEXTS, TYPICAL_TOKENS, GpuFit
from safechain_ray.engines.gpu_memory import DEFAULT_SHARE
from safechain_ray.engines.start import RUNNING

CONTEXT_GIGABYTES = 0.5
"""CUDA's context of each further engine, which vLLM does not count. An estimate."""

SPARE_GIGABYTES = 1.0
"""For each engine beside what it needs, as all needs are estimates."""


def share_one_gpu(fits: Sequence[GpuFit]) -> list[GpuFit] | None:
    """The engines with their shares of one GPU; None where each does better with the GPU to itself for a while.

    Every engine gets what it needs. Of the rest the judges get up to half, for a second context each. The first engine,
    the model's, gets all else: the size of its KV cache limits the requests that it decodes at once. It must keep half
    of the cache that it has alone, or enough for all its requests. Where the user has set a share, none is computed.
    """
    if any(fit.user_set_share for fit in fits):
        return None
    model, *judges = fits
    gpu = model.gpu_gigabytes
    left = DEFAULT_SHARE * gpu - CONTEXT_GIGABYTES * len(judges) - sum(fit.least_gigabytes for fit in fits)
    if left < SPARE_GIGABYTES * len(fits):
        return None
    extra = [min(left / 2 / len(judges), fit.cache_gigabytes + SPARE_GIGABYTES) for fit in judges]
    used = [model.least_gigabytes + left - sum(extra)]
    used += [fit.least_gigabytes + more for fit, more in zip(judges, extra, strict=True)]
    shared = [replace(fit, memory_share=gigabytes / gpu) for fit, gigabytes in zip(fits, used, strict=True)]
    enough = min(model.cache_tokens / 2, RUNNING * TYPICAL_TOKENS)
    return shared if shared[0].cache_tokens >= max(enough, MODEL_CONTEXTS * model.needed_context) else None
