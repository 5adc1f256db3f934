"""Requests to an API: the arguments of OpenAI's SDK, the key of an endpoint, and requests with several choices.

`SharedRequests` joins samples of one prompt into one request with several choices (`n`), so that the prompt is billed
once.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.errors import RowError
from safechain_ray.types import Completion, Request

NOT_PARAMETERS = frozenset({"model", "messages", "extra_body"})

BYTES_OF_AN_ENVELOPE = 2**20

BYTES_A_TOKEN = 512
"""A token has 4 to 6 characters on average. JSON escapes take up to 6 bytes each, and a thought may come twice."""

BYTES_A_LOGPROB = 256


def wire_request(
    entry: ApiEntry, request: Request, count: int = 1, max_tokens_parameter: str | None = None
) -> dict[str, Any]:
    """The keyword arguments of the SDK's call. Parameters that do not change the distribution are not sent."""
    sampling = request.sampling
    standard: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p if sampling.top_p < 1 else None,
        "seed": request.seed,
        max_tokens_parameter or entry.max_tokens_parameter: request.max_tokens,
        "n": count if count > 1 else None,
        "logprobs": True if request.logprobs else None,
        "top_logprobs": request.logprobs or None,
    }
    of_open_models: dict[str, Any] = {
        "top_k": sampling.top_k if sampling.top_k > 0 else None,
        "repetition_penalty": sampling.repetition_penalty if sampling.repetition_penalty != 1 else None,
    }
    return {
        "model": entry.api_model,
        "messages": json.loads(request.prompt),
        **_given(standard, entry.omits),
        "extra_body": _given(of_open_models, entry.omits) | entry.extra_body,
    }


def most_answer_bytes(request: Request, count: int) -> int:
    """The most bytes that `count` answers to `request` may have. A longer answer is invalid."""
    of_token = BYTES_A_TOKEN + request.logprobs * BYTES_A_LOGPROB
    return BYTES_OF_AN_ENVELOPE + count * request.max_tokens * of_token


def parameters(wire: Mapping[str, Any]) -> set[str]:
    """The names of a request's sampling parameters."""
    return {*wire, *wire["extra_body"]} - NOT_PARAMETERS


def _given(parameters: Mapping[str, Any], omits: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None and name not in omits}


def key_of(entry: ApiEntry) -> str | None:
    """The key of the entry; None where it names no variable. `missing_key` has checked that the variable is set."""
    return os.environ[entry.api_key_env].strip() if entry.api_key_env else None


def missing_key(entry: ApiEntry) -> str | None:
    """An error with its fix where the environment lacks the entry's key; else None."""
    if entry.api_key_env is None or os.environ.get(entry.api_key_env, "").strip():
        return None
    return (
        f"No key for {entry.source}. Fix: set the environment variable {entry.api_key_env}, "
        "or name another one with --set model.api_key_env=NAME."
    )


JOIN_WINDOW = 0.05
"""Seconds that a request waits for others of its prompt. They arrive together, from one block of rows."""

Outcome = Completion | RowError

Waiting = list[tuple[Request, asyncio.Future[Completion]]]


class SharedRequests:
    """Joins requests. `send(request, n)` gives 1 to n outcomes; missing ones are requested again.

    Joined requests differ only in their seeds. The seed of the first one is sent, as a provider has one seed for all
    choices of a request.
    """

    def __init__(self, most: int, send: Callable[[Request, int], Awaitable[Sequence[Outcome]]]) -> None:
        self._most = most
        self._send = send
        self._waiting: dict[Request, Waiting] = {}
        self._in_flight: set[asyncio.Task[None]] = set()

    async def generate(self, request: Request) -> Completion:
        """Complete one request. Raises the error of its outcome, and the errors of `send`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Completion] = loop.create_future()
        key = replace(request, seed=None)
        group = self._waiting.setdefault(key, [])
        group.append((request, future))
        if len(group) == self._most:
            self._send_group(key, group)
        elif len(group) == 1:
            loop.call_later(JOIN_WINDOW, self._send_group, key, group)
        return await future

    def _send_group(self, key: Request, group: Waiting) -> None:
        if self._waiting.get(key) is not group:
            return  # the group was full, and has been sent
        del self._waiting[key]
        task = asyncio.get_running_loop().create_task(self._sent(group))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _sent(self, group: Waiting) -> None:
        while group:
            try:
                outcomes = await self._send(group[0][0], len(group))
            except Exception as error:
                outcomes = [error] * len(group)  # type: ignore[list-item]
            for (_, future), outcome in zip(group, outcomes, strict=False):
                if future.done():
                    continue  # the row was cancelled
                if isinstance(outcome, Completion):
                    future.set_result(outcome)
                else:
                    future.set_exception(outcome)
            group = group[len(outcomes) :]
