"""Small run configs, resolved, and rows of samples, for the tests of this folder."""

from typing import Any

from safechain_ray import testing
from safechain_ray.config import RunConfig, read_config
from safechain_ray.runs.resolve import ResolvedRun, resolve
from safechain_ray.types import Outcome, Sample


def config(**keys: Any) -> RunConfig:
    """The demo model on three prompts, three samples each, one judge of each kind; `keys` win."""
    usual: dict[str, Any] = {
        "model": "demo-reasoner",
        "datasets": [{"name": "quickstart", "limit": 3}],
        "sampling": {"temperature": 0.6},
        "samples": 3,
        "judges": ["demo-guard", "refusal-match"],
    }
    return read_config(None, usual | keys, ())


def resolved(**keys: Any) -> ResolvedRun:
    return resolve(config(**keys))


def sample(name: str, outcome: Outcome = "ok", response: str = "r") -> Sample:
    error = "it failed" if outcome == "error" else None
    return testing.sample(sample_id=name, prompt_id=name, outcome=outcome, response=response, error=error)
