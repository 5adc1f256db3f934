"""`jobs/sweep.py` on logical GPUs: real vLLM engines on the CPU, with the demo weights in place of the large ones."""

import sys
from dataclasses import replace

from safechain_ray import catalog, cli
from safechain_ray.engines import vllm
from safechain_ray.engines.start import EngineStart
from safechain_ray.schema import Engine

GUARD = "package://demo-guard"


def start_demo_weights(start: EngineStart) -> Engine:
    """Runs in the workers, where vllm.start_vllm is vLLM's own."""
    needs = start.needs if start.needs.source == GUARD else catalog.models()["demo-reasoner"]
    return vllm.start_vllm(replace(start, needs=needs, device="cpu"))


if __name__ == "__main__":
    vllm.start_vllm = start_demo_weights
    sys.argv.insert(1, "sweep")
    cli.main()
