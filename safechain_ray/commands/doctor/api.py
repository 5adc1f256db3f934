"""Checks of a model behind an API: its key, the answer of the provider, its list of models, the prices."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from typing import Any

from openai import APIConnectionError, APIStatusError, OpenAIError

from safechain_ray import catalog
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.engines.api_json import decode_json
from safechain_ray.errors import InputError
from safechain_ray.http_clients import openai_client
from safechain_ray.http_clients.provider_client import RedirectedError

RPC_TIMEOUT = 10.0

SHOWN_MODELS = 5
LONGEST_ID = 200
MOST_MODELS = 100_000

ANOTHER_ID = "name the provider's id with --set model.api_model=ID of the run"


def check_api(model: ApiEntry) -> Iterator[Finding]:
    """Request the provider's list of models, which is free of charge. No prompt is sent."""
    subject = Subject(model.name)
    key = os.environ.get(model.api_key_env, "") if model.api_key_env else ""
    yield _check_key(subject, model, key)
    yield check_listed(subject, model, key)
    yield _check_prices(subject, model)
    tags = catalog.families()[model.family].tags
    if tags is None:
        yield subject.ok("thought", "its thought is no part apart: judge the response")
    else:
        yield subject.ok("thought", f"reasoning that comes apart is put between {tags.open} and {tags.close}")


def check_listed(subject: Subject, model: ApiEntry, key: str) -> Finding:
    """Whether the endpoint answers with this key, and lists the model. Never raises."""
    try:
        status, body = asyncio.run(_models(model, key))
    except InputError as error:
        problem, _, fix = str(error).partition(" Fix: ")
        return subject.failed("endpoint", problem.rstrip("."), fix.rstrip("."))
    except RedirectedError as error:
        fix = "set model.base_url to the address that it redirects to, if you trust it"
        return subject.failed("endpoint", str(error), fix)
    except APIConnectionError as error:
        reason = f"{model.base_url} is not reachable from here: {type(error.__cause__ or error).__name__}"
        return subject.not_checked("endpoint", reason, "check network and proxy, or model.base_url")
    except OpenAIError as error:
        reason = f"{model.base_url} gives no list of its models: {error}"
        return subject.not_checked("endpoint", reason, "check network and proxy, or model.base_url")
    if status in (401, 403):
        fix = f"check the key in {model.api_key_env}" if model.api_key_env else "name its key with model.api_key_env"
        return subject.failed("endpoint", f"{model.base_url} refuses the key: it answers {status}", fix)
    ids = _listed(body)
    if ids is None:
        reason = f"{model.base_url} answers {status} without a list of its models"
        return subject.not_checked("endpoint", reason, "try one sample: evaluate --limit 1 --max-requests 1")
    if model.api_model not in ids:
        some = ", ".join(ids[:SHOWN_MODELS]) + (
            f" and {len(ids) - SHOWN_MODELS} more" if len(ids) > SHOWN_MODELS else ""
        )
        return subject.failed("endpoint", f"it has no model {model.api_model}; it has {some or 'none'}", ANOTHER_ID)
    return subject.ok("endpoint", f"{model.base_url} answers, and has {model.api_model}")


def _check_key(subject: Subject, model: ApiEntry, key: str) -> Finding:
    if model.api_key_env is None:
        return subject.ok("key", "none is sent")
    if key:
        return subject.ok("key", f"{model.api_key_env} is set here; a cluster needs it on its own nodes")
    return subject.failed("key", f"{model.api_key_env} is not set", f"put the provider's key into {model.api_key_env}")


def _check_prices(subject: Subject, model: ApiEntry) -> Finding:
    if model.prices is None:
        fix = "set model.api.prices={input: …, output: …}, or bound the run with --max-requests"
        return subject.warning("prices", "unknown: no bill can be estimated or bounded by --max-cost", fix)
    return subject.ok(
        "prices", f"${model.prices.input:g} in and ${model.prices.output:g} out a million tokens; they change"
    )


async def _models(model: ApiEntry, key: str) -> tuple[int, bytes]:
    """Status and body of the list of models. Raises OpenAIError without a usable answer."""
    async with openai_client(model.base_url, key or None, max_retries=0, timeout=RPC_TIMEOUT) as client:
        try:
            return 200, (await client.models.with_raw_response.list()).content
        except APIStatusError as error:
            return error.status_code, error.response.content


def _listed(body: bytes) -> list[str] | None:
    """The ids in a list of models; Gemini's have the prefix `models/`."""
    try:
        models: list[Mapping[str, Any]] = decode_json(body)["data"]
        return [str(model["id"]).removeprefix("models/")[:LONGEST_ID] for model in models[:MOST_MODELS]]
    except (ValueError, KeyError, TypeError):
        return None
