"""Divides one GPU's memory between the engines of a run, so that a machine with one GPU streams.

vLLM's `gpu_memory_utilization` is a share of the whole GPU for each engine. The CUDA context of an engine comes on top.
"""

from collections.abc import Sequence
from dataclasses import replace

from safechain_ray.cluster.gpu_fit import GpuFit
from safechain_ray.engines.gpu_memory import DEFAULT_SHARE

CONTEXT_GIGABYTES = 0.5
"""CUDA's context of each further engine, which vLLM does not count. An estimate."""

SPARE_GIGABYTES = 1.0
"""For a judge beside twice its needed KV cache, as all needs are estimates."""


def share_one_gpu(fits: Sequence[GpuFit]) -> list[GpuFit] | None:
    """The engines with their shares of one GPU; None where they do not fit together.

    Every engine gets what it needs. Of the rest the judges get up to half, for a second context each. The first engine,
    the model's, gets all else: the size of its KV cache limits the requests that it decodes at once. Where the user
    has set an engine's share, none is computed.
    """
    if any(fit.memory_share != DEFAULT_SHARE for fit in fits):
        return None
    gpu = fits[0].gpu_gigabytes
    left = DEFAULT_SHARE * gpu - CONTEXT_GIGABYTES * (len(fits) - 1) - sum(fit.least_gigabytes for fit in fits)
    if left < 0:
        return None
    model, *judges = fits
    extra = [min(left / 2 / len(judges), fit.cache_gigabytes + SPARE_GIGABYTES) for fit in judges]
    used = [model.least_gigabytes + left - sum(extra)]
    used += [fit.least_gigabytes + more for fit, more in zip(judges, extra, strict=True)]
    return [replace(fit, memory_share=gigabytes / gpu) for fit, gigabytes in zip(fits, used, strict=True)]
