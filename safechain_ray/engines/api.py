"""A model behind an OpenAI-compatible API as the project's `Engine`; the only file that imports openai."""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from safechain_ray.catalog import families
from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.engines import api_answers
from safechain_ray.engines.adaptive_limit import AdaptiveLimit
from safechain_ray.engines.api_budget import Budget
from safechain_ray.engines.api_faults import Fault, RefusesAllError, backoff, read_status
from safechain_ray.engines.api_gate import Gate, Passage
from safechain_ray.engines.api_sharing import Outcome, SharedRequests
from safechain_ray.errors import EngineRefusedError, EngineStartError, RowError
from safechain_ray.schema import Completion, Message, Request

ATTEMPTS = 10
"""Times that one request is sent at most; a row that they don't suffice for is tried again by the next command."""

REFUSED_AT_FIRST = 10
"""So many wrong requests with no right one among them are the fault of all: a parameter that the model refuses."""

CHARACTERS_A_TOKEN = 4
BYTES_OF_A_TEMPLATE = 256

NO_KEY = "none"


@dataclass(frozen=True)
class ApiStart:
    """One API engine to start: its entry, and what it may take. `on_counts` hears what it did, as differences."""

    needs: ApiEntry
    max_running: int = 256
    max_cost: float | None = None
    max_requests: int | None = None
    on_tokens: Callable[[int], None] = field(default=lambda count: None)
    on_counts: Callable[..., None] = field(default=lambda **counts: None)


def start_api(start: ApiStart) -> "ApiEngine":
    """An engine that sends to the entry's endpoint; nothing is sent yet. Raises EngineStartError without its key."""
    missing = missing_key(start.needs)
    if missing is not None:
        raise EngineStartError(f"{missing} The engine reads it on the node where it runs.")
    return ApiEngine(start)


def missing_key(entry: ApiEntry) -> str | None:
    """What to do where the environment lacks the entry's key; None where all is there."""
    if entry.api_key_env is None or os.environ.get(entry.api_key_env):
        return None
    return (
        f"No key for {entry.source}: set the environment variable {entry.api_key_env}, "
        "or name another one with --set model.api_key_env=NAME."
    )


class ApiEngine:
    """Sends requests to one endpoint, as many at once as it bears, and tries those again that a try may mend.

    A request counts as done with its first usable answer and is never sent again after it.
    """

    def __init__(self, start: ApiStart) -> None:
        from openai import AsyncOpenAI, __version__

        entry = start.needs
        self._entry = entry
        self._key = os.environ[entry.api_key_env] if entry.api_key_env else NO_KEY
        self._client = AsyncOpenAI(
            api_key=self._key, base_url=entry.base_url, max_retries=0, timeout=entry.timeout_seconds
        )
        self._tags = families()[entry.family].tags
        self._budget = Budget(entry.prices, start.max_cost, start.max_requests)
        limit = AdaptiveLimit(min(start.max_running, entry.max_concurrent))
        self._gate = Gate(limit, self._budget, lambda change: start.on_counts(concurrency=change))
        self._on_tokens = start.on_tokens
        self._count = start.on_counts
        self._random = random.Random()
        self._answers = self._wrong_requests = 0
        self._name = f"openai {__version__}, {entry.source}"
        self._shared = SharedRequests(entry.most_choices, self._choices) if entry.most_choices > 1 else None

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_length(self) -> int:
        return self._entry.context_length

    def render(self, messages: tuple[Message, ...]) -> str:
        """The messages as JSON: the template is the provider's."""
        return json.dumps([{"role": message.role, "content": message.content} for message in messages])

    def count_tokens(self, text: str) -> int:
        """An estimate: the provider keeps its tokenizer to itself."""
        return -(-len(text) // CHARACTERS_A_TOKEN)

    def last_tokens(self, text: str, count: int) -> str:
        """By the same estimate."""
        return text[-count * CHARACTERS_A_TOKEN :]

    async def generate(self, request: Request) -> Completion:
        """Raises BlockedError where the provider withholds an answer, RowError where the budget is spent, the request
        is wrong or all tries failed, EngineRefusedError where the provider would refuse every request."""
        if self._shared is not None:
            return await self._shared.generate(request)
        (outcome,) = await self._choices(request, 1)
        if isinstance(outcome, RowError):
            raise outcome
        return outcome

    async def _choices(self, request: Request, count: int) -> Sequence[Outcome]:
        """1 to `count` answers from one request. Raises as `generate` does, for all of them."""
        wire = wire_request(self._entry, request, count)
        # Tokens of byte-level BPE are at least a byte each.
        prompt_tokens = len(request.prompt.encode()) + BYTES_OF_A_TEMPLATE
        most = self._budget.most(prompt_tokens, count * request.max_tokens)
        attempt = 1
        while True:
            async with self._gate.passage(most) as passage:
                outcome = await self._attempt(wire, passage)
            if not isinstance(outcome, Fault):
                return outcome[:count]
            if attempt == ATTEMPTS:
                raise RowError(f"{self._entry.source} failed {ATTEMPTS} times, at last with {outcome.text}")
            self._count(retries=1)
            await asyncio.sleep(backoff(attempt, self._random))
            attempt += 1

    async def close(self) -> None:
        await self._client.close()

    async def _attempt(self, wire: Mapping[str, Any], passage: Passage) -> Sequence[Outcome] | Fault:
        self._count(requests=1)
        try:
            body = await self._sent(wire)
            return self._read(body, passage)
        except _Answered as refused:
            passage.answered = True
            passage.fault = self._understood(refused)
        except api_answers.InterruptedAnswerError as error:
            passage.fault = Fault(str(error), overload=True)
        except (TimeoutError, api_answers.UnusableAnswerError) as error:
            passage.fault = Fault(str(error) or f"no answer for {self._entry.timeout_seconds:g} s")
        return passage.fault

    async def _sent(self, wire: Mapping[str, Any]) -> Mapping[str, Any]:
        """The body of a good answer. Raises _Answered for an error's status, UnusableAnswerError, TimeoutError."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        try:
            async with asyncio.timeout(self._entry.timeout_seconds):
                answer = await self._client.chat.completions.with_raw_response.create(**wire)
        except APITimeoutError as error:
            raise TimeoutError from error
        except APIConnectionError as error:
            raise api_answers.UnusableAnswerError(f"connection: {error.__cause__ or error}") from error
        except APIStatusError as error:
            # Not `from error`: its text quotes the body, which may quote the key, and Ray logs whole chains.
            raise _Answered(error.status_code, error.body, error.response.headers) from None
        body = api_answers.decode_body(answer.content)
        if "error" in body and not body.get("choices"):  # OpenRouter, under status 200
            code = body["error"].get("code") if isinstance(body["error"], dict) else None
            raise _Answered(code if isinstance(code, int) else 500, body, answer.headers)
        return body

    def _read(self, body: Mapping[str, Any], passage: Passage) -> Sequence[Outcome]:
        usage = api_answers.read_usage(body)
        passage.answered = bool(usage.output_tokens or usage.input_tokens or body.get("choices"))
        passage.cost = self._budget.most(usage.input_tokens, usage.output_tokens)
        self._answers += passage.answered
        self._on_tokens(usage.output_tokens)
        self._count(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_microdollars=round(passage.cost * 1e6),
        )
        answers = [_answer(body, place) for place in range(api_answers.count_choices(body))]
        texts = ["" if isinstance(answer, RowError) else answer.response(self._tags) for answer in answers]
        return [
            answer
            if isinstance(answer, RowError)
            else Completion(
                text=text,
                prompt_tokens=usage.input_tokens,
                completion_tokens=share.output_tokens,
                finish_reason=answer.finish_reason,
                thought_tokens=api_answers.thought_tokens(share, text, self._tags),
                logprobs=api_answers.read_logprobs(body, place),
            )
            for place, (answer, text, share) in enumerate(
                zip(answers, texts, api_answers.shared_usage(usage, texts), strict=True)
            )
        ]

    def _understood(self, refused: "_Answered") -> Fault:
        """The fault behind an error's status, or the error that it is. Raises as `generate` does."""
        try:
            return read_status(refused.status, self._without_key(refused.body), refused.headers, time.time())
        except RefusesAllError as error:
            self._refuse(f"{error}. {_mend(error.status, self._entry)}", error)
        except RowError as error:
            self._wrong_requests += type(error) is RowError
            if not self._answers and self._wrong_requests >= REFUSED_AT_FIRST:
                self._refuse(
                    f"the first {self._wrong_requests} requests were all wrong ({error}). Leave out a sampling "
                    "parameter that it refuses with --set 'model.api.omits=[temperature]'",
                    error,
                )
            raise

    def _refuse(self, text: str, cause: Exception) -> NoReturn:
        refusal = EngineRefusedError(f"{self._entry.source} refuses the run: {text}")
        self._gate.shut(refusal)
        raise refusal from cause

    def _without_key(self, body: object) -> object:
        """Providers quote a wrong key in their message."""
        if self._key == NO_KEY:
            return body
        return json.loads(json.dumps(body, default=str).replace(self._key, "***"))


def _answer(body: Mapping[str, Any], place: int) -> api_answers.ApiAnswer | RowError:
    """The answer, or why this choice alone has none."""
    try:
        return api_answers.read_answer(body, place)
    except RowError as error:
        return error


class _Answered(Exception):  # noqa: N818 - what was answered, for good or ill
    """The provider answered with an error."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


def wire_request(entry: ApiEntry, request: Request, count: int = 1) -> dict[str, Any]:
    """The keyword arguments of the SDK's call. Parameters that leave the distribution whole are not sent."""
    sampling = request.sampling
    standard: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p if sampling.top_p < 1 else None,
        "seed": request.seed,
        "max_tokens": request.max_tokens,
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


def _given(parameters: Mapping[str, Any], omits: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None and name not in omits}


def _mend(status: int, entry: ApiEntry) -> str:
    match status:
        case 401 | 403 if entry.api_key_env is None:
            return "No key was sent: name its environment variable with --set model.api_key_env=NAME."
        case 401 | 403:
            return f"Check the key in the environment variable {entry.api_key_env}."
        case 404 | 405:
            return (
                f"Check the model id {entry.api_model!r} (another one: --set model.api_model=ID) "
                f"and the endpoint {entry.base_url} (another one: --base-url URL)."
            )
        case _:
            return "The account has no money or quota left."
