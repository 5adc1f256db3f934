"""A request as the arguments of OpenAI's SDK."""

import json
from collections.abc import Mapping
from typing import Any

from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.types import Request

NOT_PARAMETERS = frozenset({"model", "messages", "extra_body"})

BYTES_OF_AN_ENVELOPE = 2**20
BYTES_A_TOKEN = 512
"""A token has 4 to 6 characters on average. JSON escapes take up to 6 bytes each, and a thought may come twice."""

BYTES_A_LOGPROB = 256


def wire_request(
    entry: ApiEntry, request: Request, count: int = 1, max_tokens_parameter: str | None = None
) -> dict[str, Any]:
    """The keyword arguments of the SDK's call. Parameters that leave the distribution whole are not sent."""
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
    """The most bytes that `count` answers to `request` may have; an answer beyond them is no answer to it."""
    of_token = BYTES_A_TOKEN + request.logprobs * BYTES_A_LOGPROB
    return BYTES_OF_AN_ENVELOPE + count * request.max_tokens * of_token


def parameters(wire: Mapping[str, Any]) -> set[str]:
    """The names of the sampling parameters that a request holds."""
    return {*wire, *wire["extra_body"]} - NOT_PARAMETERS


def _given(parameters: Mapping[str, Any], omits: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None and name not in omits}
