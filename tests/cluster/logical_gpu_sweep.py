"""`jobs/sweep.py` on logical GPUs: `logical_gpu_sweep.py WHO ARGUMENTS`.

WHO says which models have real vLLM engines, on the CPU with the demo weights from a bucket: `all` or the `small` ones.
The judge always has; the engines of others are scripted.
"""

import sys
from dataclasses import dataclass, replace

from safechain_ray import catalog, cli
from safechain_ray.engines import vllm
from safechain_ray.engines.start import EngineStart
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Engine

GUARD = "package://demo-guard"
WEIGHTS = "s3://bucket/weights/demo-reasoner"
SMALL = ("R1-1.5B", "R1-8B")


@dataclass(frozen=True)
class Engines:
    """Starts the engine of a model by its weights. Runs in the workers, where vllm.start_vllm is vLLM's own."""

    real: frozenset[str]
    scripted: ScriptedEngines

    def __call__(self, start: EngineStart) -> Engine:
        if start.needs.source not in self.real:
            return self.scripted(start)
        demo = catalog.models()["demo-reasoner"].model_copy(update={"source": WEIGHTS})
        needs = start.needs if start.needs.source == GUARD else demo
        return vllm.start_vllm(replace(start, needs=needs, device="cpu"))


def engines(who: str) -> Engines:
    models = catalog.models()
    real = models if who == "all" else SMALL
    scripts = ScriptedEngines({model.source: Script(seconds=8.0) for model in models.values()})
    return Engines(frozenset(models[name].source for name in real) | {GUARD}, scripts)


if __name__ == "__main__":
    vllm.start_vllm = engines(sys.argv.pop(1))
    sys.argv.insert(1, "sweep")
    cli.main()
