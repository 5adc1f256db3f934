"""Ray actors without Ray, and what an engine pool is given, for the tests of this folder."""

from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from safechain_ray.catalog import judges, models
from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.cluster.workers.inflight_tracker import InFlightTracker
from safechain_ray.engines.start import EngineStart
from safechain_ray.testing import Script, ScriptedEngines

NODE = "node-1"
"""The node of every worker of these tests."""

MODEL = models()["demo-reasoner"]
GUARD = judges()["demo-guard"]


class LocalActor:
    """`actor.method.remote(...)` calls the method of `target` at once and gives its result as the reference."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.target, name))


class Answered:
    """The reference to a result that is there: awaiting it gives it."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __await__(self) -> Generator[None, None, Any]:
        return self._result
        yield


class LocalTracker(LocalActor):
    """An in-flight tracker with one node, which stays. Its references are awaited, not got."""

    def __init__(self, inflight_tracker: InFlightTracker | None = None) -> None:
        super().__init__(inflight_tracker or InFlightTracker(lambda: frozenset({NODE})))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.target, name)
        return SimpleNamespace(remote=lambda *arguments: Answered(method(*arguments)))


def start_of(needs: EngineNeeds) -> EngineStart:
    return EngineStart(needs, "cpu", Path("/no/log"))


def engines(**script: Any) -> ScriptedEngines:
    """The scripted engines of the demo model and of the demo guard, both with one script."""
    assert GUARD.engine is not None
    return ScriptedEngines({MODEL.source: Script(**script), GUARD.engine.source: Script(**script)})
