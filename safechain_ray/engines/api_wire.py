"""Wire format of an API: arguments of OpenAI's SDK, keys, requests with several choices, typed JSON, token usage.

`SharedRequests` joins samples of one prompt into one request with several choices (`n`), so that the prompt is billed
once. Token usage is what the provider bills.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.errors import RowError
from safechain_ray.likely_keys import key_fault
from safechain_ray.types import LARGEST_INT32, Completion, Request, ThinkingTags, read_tags
from safechain_ray.types.thinking import well_formed_tree

NOT_PARAMETERS = frozenset({"model", "messages", "extra_body"})

TEMPLATE_KWARGS = "chat_template_kwargs"
"""Key of a request's body with the arguments of the server's chat template (vLLM, SGLang)."""

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
    messages, body = rendered_parts(request.prompt)
    return {
        "model": entry.api_model,
        "messages": messages,
        **_given(standard, entry.omits),
        "extra_body": _given(of_open_models, entry.omits) | with_body(entry.extra_body, body),
    }


def rendered_parts(prompt: str) -> tuple[list[Any], Mapping[str, Any]]:
    """The messages of a rendered prompt, and the keys of its request's body."""
    rendered = json.loads(prompt)
    return (rendered, {}) if isinstance(rendered, list) else (rendered["messages"], rendered["body"])


def with_body(entry: Mapping[str, Any], setting: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's body with a setting's, which wins; arguments of the chat template are merged one by one."""
    merged = {**entry, **setting}
    if TEMPLATE_KWARGS in entry and TEMPLATE_KWARGS in setting:
        merged[TEMPLATE_KWARGS] = {**as_mapping(entry[TEMPLATE_KWARGS]), **as_mapping(setting[TEMPLATE_KWARGS])}
    return merged


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
    """An error with its fix where the environment lacks the entry's key, or has one that can't be sent; else None."""
    if entry.api_key_env is None:
        return None
    if key := os.environ.get(entry.api_key_env, "").strip():
        return key_fault(key, entry.api_key_env)
    return (
        f"No key for {entry.source}. Fix: set the environment variable {entry.api_key_env}, "
        f"or name another one with {entry.option('api_key_env=NAME')}."
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


def decode_json(text: bytes) -> Any:
    """The value in `text`, without halves of surrogate pairs. Raises ValueError for anything but JSON.

    JSON can escape half of a surrogate pair, which UTF-8 and Arrow cannot store: one such answer would fail its block.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    # In UTF-8, only an escape or a byte 0xED can make a surrogate. NUL bytes show that the text is UTF-16 or UTF-32.
    may_hold_surrogates = b"\\u" in text or b"\xed" in text or b"\0" in text
    return well_formed_tree(value) if may_hold_surrogates else value


def as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int | None:
    """A count of tokens, also as a float or in digits; None for anything else, and for more than a column can hold."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Not by math.isfinite: a JSON integer may be too large for a float. NaN fails every comparison.
    return int(value) if 0 <= value <= LARGEST_INT32 else None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider bills them; None without a plausible count.

    `reasoning_tokens` are among `output_tokens`.
    """

    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None = None

    @property
    def is_complete(self) -> bool:
        return self.input_tokens is not None and self.output_tokens is not None

    def filled(self, other: "Usage") -> "Usage":
        """This usage, with missing counts from `other`."""
        return Usage(
            other.input_tokens if self.input_tokens is None else self.input_tokens,
            other.output_tokens if self.output_tokens is None else self.output_tokens,
            self.reasoning_tokens,
        )


def read_usage(body: Mapping[str, Any], has_text: bool = True) -> Usage:
    """The usage of a whole body. A count of 0 for an answer that `has_text` is ignored.

    Reasoning counts as output also where the provider bills it beside the completion:

    - xAI counts it in `total_tokens` and not in `completion_tokens`, and so does Gemini, without any details;
    - reasoning that exceeds the completion can't be a part of it.

    A total above the sum of input and completion gives the output. Any other total is ignored.
    """
    usage = as_mapping(body.get("usage"))
    input_tokens = _first_count(usage, "prompt_tokens", "input_tokens")
    output_tokens = _first_count(usage, "completion_tokens", "output_tokens")
    details = as_mapping(usage.get("completion_tokens_details")) or as_mapping(usage.get("output_tokens_details"))
    reasoning = as_count(details.get("reasoning_tokens"))
    if reasoning is None:
        reasoning = as_count(usage.get("reasoning_tokens"))
    if has_text:
        input_tokens, output_tokens = input_tokens or None, output_tokens or None
    if output_tokens is None:
        return Usage(input_tokens, None)
    total = as_count(usage.get("total_tokens"))
    if total is not None and input_tokens is not None and total > input_tokens + output_tokens:
        beside = total - input_tokens - output_tokens
        reasoning = beside if reasoning is None else reasoning
    else:
        beside = reasoning if reasoning is not None and reasoning > output_tokens else 0
    return Usage(input_tokens, min(output_tokens + beside, LARGEST_INT32), reasoning)


def shared_usage(usage: Usage, texts: Sequence[str]) -> list[Usage]:
    """Split the usage of one request over its answers: the output tokens in proportion to the characters.

    Each answer has all input tokens, which the answers share. Reasoning tokens are not split.
    """
    if len(texts) == 1 or usage.output_tokens is None:
        return [usage] * len(texts)
    characters, shares, given = sum(map(len, texts)), [], 0
    for index in range(len(texts)):
        upto = sum(map(len, texts[: index + 1]))
        until = round(usage.output_tokens * (upto / characters if characters else (index + 1) / len(texts)))
        shares.append(Usage(usage.input_tokens, until - given, None))
        given = until
    return shares


def thought_tokens(
    output_tokens: int, reasoning_tokens: int | None, response: str, tags: ThinkingTags | None
) -> int | None:
    """Tokens of the thought: the provider's figure, else the generated tokens in proportion to its characters."""
    if tags is None:
        return None
    if reasoning_tokens is not None:
        return min(reasoning_tokens, output_tokens)
    text = read_tags(response, tags)
    return round(output_tokens * len(text.thought) / max(1, len(text.thought) + len(text.answer)))


def _first_count(usage: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := as_count(usage.get(name))) is not None), None)
