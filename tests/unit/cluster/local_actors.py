"""Ray actors without Ray, and what an engine pool is given, for the tests of this folder."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from safechain_ray.catalog import judges, models
from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.engines.scripted import Script, ScriptedEngines
from safechain_ray.engines.start import EngineStart

MODEL = models()["demo-reasoner"]
GUARD = judges()["demo-guard"]


class LocalActor:
    """`actor.method.remote(...)` calls the method of `target` at once and gives its result as the reference."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.target, name))


def start_of(needs: EngineNeeds) -> EngineStart:
    return EngineStart(needs, "cpu", Path("/no/log"))


def engines(**script: Any) -> ScriptedEngines:
    """The scripted engines of the demo model and of the demo guard, both with one script."""
    assert GUARD.engine is not None
    return ScriptedEngines({MODEL.source: Script(**script), GUARD.engine.source: Script(**script)})
