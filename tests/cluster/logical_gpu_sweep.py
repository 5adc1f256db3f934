"""`jobs/sweep.py` on logical GPUs: `logical_gpu_sweep.py KIND ARGUMENTS`.

KIND is what stands in for the large models' engines: `demo-weights`, real vLLM engines on the CPU, or `scripted`.
"""

import sys
from dataclasses import replace

from safechain_ray import catalog, cli
from safechain_ray.engines import vllm
from safechain_ray.engines.scripted import Script, ScriptedEngines
from safechain_ray.engines.start import EngineStart
from safechain_ray.schema import Engine

GUARD = "package://demo-guard"


def start_demo_weights(start: EngineStart) -> Engine:
    """Runs in the workers, where vllm.start_vllm is vLLM's own."""
    needs = start.needs if start.needs.source == GUARD else catalog.models()["demo-reasoner"]
    return vllm.start_vllm(replace(start, needs=needs, device="cpu"))


def scripted() -> ScriptedEngines:
    guard = Script(answer=lambda request: "safe", logprobs=lambda request: ({"safe": -0.1, "unsafe": -2.4},))
    return ScriptedEngines({model.source: Script(seconds=8.0) for model in catalog.models().values()} | {GUARD: guard})


if __name__ == "__main__":
    kind = sys.argv.pop(1)
    vllm.start_vllm = start_demo_weights if kind == "demo-weights" else scripted()
    sys.argv.insert(1, "sweep")
    cli.main()
