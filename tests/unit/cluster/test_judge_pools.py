"""The worker of a judge's pool: an engine, a chat API behind the same worker, or a moderation endpoint."""

from types import SimpleNamespace
from typing import Any

import pytest

from safechain_ray.catalog import judges
from safechain_ray.cluster import pipeline
from safechain_ray.cluster.workers.judge import EndpointJudge, EngineJudge
from safechain_ray.engines.api import start_api

SETTINGS = SimpleNamespace(
    progress_tracker=None,
    inflight_tracker=None,
    block_rows=4,
    max_engine_deaths=2,
    start_engine=None,
    api_start=lambda entry: entry,
    engine_start=lambda pool, needs: needs,
    running=lambda pool: 8,
)


@pytest.mark.parametrize(
    ("name", "worker", "source", "in_flight"),
    [
        ("wildguard", EngineJudge, "allenai/wildguard", 8),
        ("strongreject-gpt-4o", EngineJudge, "gpt-4o at api.openai.com", 16),
        ("openai-moderation", EndpointJudge, None, 16),
    ],
)
def test_a_judge_has_the_worker_that_its_form_needs(
    name: str, worker: type, source: str | None, in_flight: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-driver")
    monkeypatch.setattr(pipeline, "_pool_arguments", lambda pool, settings, running: running)
    monkeypatch.setattr(pipeline, "add_pool", lambda rows, *pool: pool)
    made: Any = pipeline.judge(None, None, judges()[name], ("response",), SETTINGS)  # type: ignore[arg-type]
    found, arguments, running = made
    assert (found, running) == (worker, in_flight)
    assert getattr(arguments.get("start"), "source", None) == source
    if name != "wildguard":
        assert arguments["key"].get_secret_value() == "sk-driver"
    if name == "strongreject-gpt-4o":
        assert arguments["start_engine"] is start_api
