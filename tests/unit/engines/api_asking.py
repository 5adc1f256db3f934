"""Asks an API engine in front of a scripted server."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from safechain_ray.catalog import families
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.types import NO_ARGUMENTS, Completion, Message, Request, Sampling
from tests.scripted_api import ScriptedApi, chat

KEY = "sk-secret-4711"
Outcome = Completion | BaseException


def ask(
    api: ScriptedApi,
    *prompts: str,
    counts: Counter[str] | None = None,
    sampling: Sampling | None = None,
    notes: list[str] | None = None,
    arguments: Mapping[str, Any] = NO_ARGUMENTS,
    **start: Any,
) -> Sequence[Outcome]:
    """What an engine before `api` answers to `prompts` that come together; `start` sets its entry and its limits.

    `arguments` are the setting's keys of the request's body.
    """
    counts = Counter() if counts is None else counts
    limits = {name: start.pop(name) for name in ("max_cost", "max_requests", "max_running") if name in start}
    usual = {"name": "m", "api_model": "model-1", "base_url": api.url, "api_key_env": "TEST_API_KEY"}
    entry = ApiEntry.model_validate(usual | start)

    async def together() -> Sequence[Outcome]:
        engine = start_api(
            ApiStart(
                entry,
                **limits,
                tags=families()[entry.family].tags,
                on_counts=lambda **new: counts.update(new),
                on_note=([] if notes is None else notes).append,
            )
        )
        requests = (
            Request(engine.render((Message("user", prompt),), arguments), sampling or Sampling(max_tokens=50), 50)
            for prompt in prompts
        )
        answers = await asyncio.gather(*map(engine.generate, requests), return_exceptions=True)
        await engine.close()
        return answers

    return asyncio.run(together())


def always(response: Callable[[], web.Response]) -> Any:
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        return response()

    return respond


def at_first(*responses: Callable[[web.Request], web.StreamResponse]) -> Any:
    """These in turn, then good answers."""
    left = list(responses)

    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return left.pop(0)(request) if left else chat()

    return respond
