"""Small run configs, resolved, and rows of samples, for the tests of this folder."""

from typing import Any

from safechain_ray.config import RunConfig, read_config
from safechain_ray.pipelines.resolve import ResolvedRun, resolve
from safechain_ray.schema import Outcome, Sample


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
    return Sample(
        sample_id=name,
        setting_id="set",
        model="m",
        dataset="d",
        prompt_id=name,
        category="c",
        prompt="p",
        strategy="default",
        sample_index=0,
        temperature=0.0,
        top_p=1.0,
        top_k=-1,
        max_tokens=10,
        seed=None,
        thought=None,
        answer=None,
        response=response,
        prefill="",
        outcome=outcome,
        finish_reason="stop",
        error="it failed" if outcome == "error" else None,
        prompt_tokens=1,
        thought_tokens=None,
        answer_tokens=1,
        forced_rounds=0,
        seconds=0.0,
        engine="e",
    )
