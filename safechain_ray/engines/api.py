"""A model behind an OpenAI-compatible API as the project's `Engine`."""

import asyncio
import json
import platform
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from safechain_ray.catalog import families
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.engines import api_answers
from safechain_ray.engines.api_answers import PROBE, PROBE_TOKENS, ThoughtOpening, UnusableAnswerError
from safechain_ray.engines.api_faults import (
    LONGEST_QUOTE,
    REFUSES_ALL,
    AnsweredError,
    Fault,
    Refusals,
    Silence,
    backoff,
    decode_error,
    status_in,
)
from safechain_ray.engines.api_gate import AdaptiveLimit, Budget, RequestGate, RequestSlot
from safechain_ray.engines.api_wire import (
    Outcome,
    SharedRequests,
    Usage,
    key_of,
    missing_key,
    most_answer_bytes,
    read_usage,
    rendered_parts,
    shared_usage,
    thought_tokens,
    wire_request,
)
from safechain_ray.engines.start import RUNNING
from safechain_ray.errors import EngineRefusedError, EngineStartError, InputError, RowError, SafechainError
from safechain_ray.http_clients import openai_client, secrets_sent
from safechain_ray.types import NO_ARGUMENTS, Completion, Message, Request, ThinkingTags

ATTEMPTS = 10
"""Attempts of one request. A row that fails after them is retried by the next command."""

NO_CONNECTION = ("ConnectError", "ConnectTimeout")
"""Exceptions of httpx or httpx2: the version of OpenAI's SDK decides which one it uses."""

CHARACTERS_A_TOKEN = 4
BYTES_OF_A_TEMPLATE = 256

CUT_WITHOUT_TAGS = (
    "cut this text before any thinking tag: whether it is a thought or an answer is unknown. Fix: pass "
    "--set model.api.opens_thought=true or false (true if the server's chat template opens the thought), or raise "
    "--max-tokens."
)


@dataclass(frozen=True)
class ApiStart:
    """One API engine to start: its entry, the tags of its family, and its budget.

    `tags` are from the driver: other nodes may lack a user's catalog. `on_counts` receives counts, as differences, and
    `on_note` sentences for the user.
    """

    needs: ApiEntry
    max_running: int = RUNNING
    max_cost: float | None = None
    max_requests: int | None = None
    tags: ThinkingTags | None = field(default_factory=lambda: families()["api"].tags)
    on_tokens: Callable[[int], None] = field(default=lambda count: None)
    on_counts: Callable[..., None] = field(default=lambda **counts: None)
    on_note: Callable[[str], None] = field(default=lambda sentence: None)


def start_api(start: ApiStart) -> "ApiEngine":
    """An engine for the entry's endpoint. No request is sent yet. Raises EngineStartError without its key."""
    # Other nodes have environments of their own: the driver's check of its own environment does not suffice.
    failed = f"The engine for {start.needs.source} did not start in the environment of node {platform.node()}."
    missing = missing_key(start.needs)
    if missing is not None:
        raise EngineStartError(f"{failed} {missing}")
    try:
        return ApiEngine(start)
    except InputError as error:
        raise EngineStartError(f"{failed} {error}") from None


class ApiEngine:
    """Sends requests to one endpoint with adaptive concurrency, and retries transient errors.

    A request is complete with its first usable answer, and is never sent again after it.
    """

    def __init__(self, start: ApiStart) -> None:
        from openai import __version__

        entry = start.needs
        self._entry = entry
        key = key_of(entry)
        self._secrets = secrets_sent(entry.base_url, key)
        self._client = openai_client(entry.base_url, key, max_retries=0, timeout=entry.timeout_seconds)
        self._tags = start.tags
        self._openings: dict[str, ThoughtOpening] = {}
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._refusals = Refusals(entry, self._secrets)
        self._budget = Budget(entry.prices, start.max_cost, start.max_requests)
        limit = AdaptiveLimit(min(start.max_running, entry.max_concurrent))
        self._gate = RequestGate(limit, self._budget, lambda change: start.on_counts(concurrency=change))
        self._on_tokens = start.on_tokens
        self._count = start.on_counts
        self._silence = Silence(entry, lambda text: start.on_note(self._secrets.removed_from_message(text)))
        self._random = random.Random()
        self._name = f"openai {__version__}, {entry.source}"
        self._shared = SharedRequests(entry.most_choices, self._choices) if entry.most_choices > 1 else None

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_length(self) -> int:
        return self._entry.context_length

    def render(self, messages: tuple[Message, ...], arguments: Mapping[str, Any] = NO_ARGUMENTS) -> str:
        """The messages as JSON, with further keys of the request's body. The template is the provider's."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return json.dumps({"messages": turns, "body": dict(arguments)} if arguments else turns)

    def count_tokens(self, text: str) -> int:
        """An estimate, as the provider's tokenizer is not public."""
        return -(-len(text) // CHARACTERS_A_TOKEN)

    def last_tokens(self, text: str, count: int) -> str:
        """The end of `text`, by the estimate of `count_tokens`."""
        return text[-count * CHARACTERS_A_TOKEN :]

    async def generate(self, request: Request) -> Completion:
        """Complete one request.

        Raises:
            BlockedError: The provider withheld the answer.
            RowError: The budget is spent, the request is invalid, or all attempts failed.
            EngineRefusedError: The provider would refuse every request.
        """
        if self._shared is not None:
            return await self._shared.generate(request)
        (outcome,) = await self._choices(request, 1)
        if isinstance(outcome, RowError):
            raise outcome
        return outcome

    async def close(self) -> None:
        await self._client.close()

    async def _choices(self, request: Request, count: int) -> Sequence[Outcome]:
        """1 to `count` answers of one request, without quoted secrets. Raises the errors of `generate`.

        The client has removed secrets from bodies. Here the parts of an answer are joined: a part may end in a secret.
        """
        try:
            return [self._without_secrets(outcome) for outcome in await self._answer(request, count)]
        except SafechainError as error:
            raise type(error)(self._secrets.removed_from_message(str(error))) from None
        except Exception as error:
            text = f"{self._entry.source} sent an answer that can't be read: {type(error).__name__}: {error}"
            raise RowError(self._secrets.removed_from_message(text)[:LONGEST_QUOTE]) from None

    def _without_secrets(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, RowError):
            return type(outcome)(self._secrets.removed_from_message(str(outcome)))
        return replace(outcome, text=self._secrets.removed_from(outcome.text))

    async def _answer(self, request: Request, count: int) -> Sequence[Outcome]:
        received = await self._receive(request, count)
        opening, body = self._opening(request), _body_of(request)
        if any(opening.is_ambiguous(each) for _, each in received.answers if isinstance(each, api_answers.ApiAnswer)):
            if body not in self._probing:
                self._probing[body] = asyncio.create_task(self._probe(request))
            await asyncio.shield(self._probing[body])
        return self._outcomes(received, opening)[:count]

    def _opening(self, request: Request) -> ThoughtOpening:
        """Arguments of the chat template decide whether it opens the thought: settings learn separately."""
        new = ThoughtOpening(self._entry.opens_thought, self._tags)
        return self._openings.setdefault(_body_of(request), new)

    async def _receive(self, request: Request, count: int) -> "_Received":
        """The answers to one request, which is retried. Raises the errors of `generate`."""
        # Tokens of byte-level BPE are at least a byte each.
        bounds = Usage(len(request.prompt.encode()) + BYTES_OF_A_TEMPLATE, count * request.max_tokens)
        most_bytes = most_answer_bytes(request, count)
        attempt = 1
        while True:
            async with self._gate.slot(self._cost(bounds)) as slot:
                # Built after the wait at the gate: another request may have detected the parameter's name meanwhile.
                wire = wire_request(self._entry, request, count, self._refusals.max_tokens_parameter)
                outcome = await self._attempt(wire, bounds, most_bytes, slot)
            if not isinstance(outcome, Fault):
                for _, answer in outcome.answers:
                    if isinstance(answer, api_answers.ApiAnswer):
                        self._opening(request).note(answer)
                return outcome
            is_renamed = "max_tokens" in wire and self._refusals.max_tokens_parameter != "max_tokens"
            if attempt == ATTEMPTS and not is_renamed:
                raise RowError(f"{self._entry.source} failed {ATTEMPTS} times. The last error: {outcome.text}")
            self._count(retries=1)
            self._silence.note_fault(outcome)
            if not is_renamed:
                await asyncio.sleep(backoff(attempt, self._random))
                attempt += 1

    async def _attempt(
        self, wire: Mapping[str, Any], bounds: Usage, most_bytes: int, slot: RequestSlot
    ) -> "_Received | Fault":
        self._silence.note_request()
        try:
            body = api_answers.first_choices(await self._send(wire, most_bytes), wire.get("n", 1))
            return self._read(body, wire, bounds, slot)
        except AnsweredError as refused:
            slot.answered = True
            try:
                slot.fault = self._refusals.classify(refused, wire)
            except EngineRefusedError as refusal:
                self._gate.close(refusal)
                raise
        except api_answers.InterruptedAnswerError as error:
            slot.fault = Fault(str(error), overload=True)
        except api_answers.NoConnectionError as error:
            slot.fault = Fault(str(error), not_sent=True)
        except (TimeoutError, UnusableAnswerError) as error:
            text = str(error) or f"no answer for {self._entry.timeout_seconds:g} s"
            slot.fault = Fault(text)
        finally:
            if slot.fault is None or not slot.fault.not_sent:
                self._count(requests=1)
        return slot.fault

    async def _send(self, wire: Mapping[str, Any], most_bytes: int) -> Mapping[str, Any]:
        """Send a request; returns the body of a good answer.

        Raises:
            AnsweredError: an error's status.
            UnusableAnswerError, TimeoutError: another attempt may succeed.
            RowError: the answer is too long.
        """
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        from safechain_ray.http_clients.provider_client import AnswerTooLongError, RedirectedError, limited_to

        try:
            async with asyncio.timeout(self._entry.timeout_seconds):
                with limited_to(most_bytes):
                    answer = await self._client.chat.completions.with_raw_response.create(**wire)
        except APIConnectionError as error:
            cause = error.__cause__ or error
            if type(cause).__name__ in NO_CONNECTION:
                reason = str(cause) or "no server accepted it in time"
                raise api_answers.NoConnectionError(f"connection: {reason}") from None
            if isinstance(error, APITimeoutError):
                raise TimeoutError from error
            raise UnusableAnswerError(f"connection: {cause}") from None
        except APIStatusError as error:
            body = decode_error(error.response.content)
            raise AnsweredError(error.status_code, body, error.response.headers) from None
        except RedirectedError as error:
            raise AnsweredError(error.status, {"error": {"message": str(error)}}, {}) from None
        except AnswerTooLongError as error:
            raise RowError(f"{self._entry.source}: {error}") from None
        except OpenAIError as error:
            raise UnusableAnswerError(str(error)) from None
        body = api_answers.decode_body(answer.content)
        if "error" in body and not body.get("choices"):  # OpenRouter, under status 200
            raise AnsweredError(status_in(body["error"]), body, answer.headers)
        return body

    def _read(self, body: Mapping[str, Any], wire: Mapping[str, Any], bounds: Usage, slot: RequestSlot) -> "_Received":
        """Settle the bill, then read the answers. Raises the error of the first answer where all failed."""
        answers: list[tuple[int, api_answers.ApiAnswer | RowError]] = []
        failures: list[UnusableAnswerError] = []
        for index in range(api_answers.count_choices(body)):
            try:
                answers.append((index, api_answers.read_answer(body, index)))
            except RowError as error:
                answers.append((index, error))
            except UnusableAnswerError as error:
                failures.append(error)
        usage = self._settle(body, wire, bounds, slot)
        if not answers and isinstance(failures[0], api_answers.FailedChoiceError):
            status = status_in(failures[0].error)
            # Providers report errors of all requests (key, quota) outside of answers: this is a server error.
            raise AnsweredError(500 if status in REFUSES_ALL else status, {"error": failures[0].error}, {})
        if not answers:
            raise failures[0]
        self._refusals.note_answer()
        self._silence.note_answer()
        tops: int = wire.get("top_logprobs", 0)
        return _Received(body, usage, answers, ((bounds.output_tokens or 0) if tops else 0, tops))

    def _settle(self, body: Mapping[str, Any], wire: Mapping[str, Any], bounds: Usage, slot: RequestSlot) -> Usage:
        """The tokens of a body, estimated where the bill has none, and their cost.

        A request without usage is charged at its maximum cost, so that the budget holds in any case.
        """
        texts = api_answers.texts(body)
        bill = read_usage(body, has_text=any(texts))
        slot.answered = bool(bill.output_tokens or bill.input_tokens or body.get("choices"))
        if not slot.answered:
            return bill
        prompt = "".join(message["content"] for message in wire["messages"])
        usage = bill.filled(Usage(self.count_tokens(prompt), sum(map(self.count_tokens, texts))))
        slot.cost = self._cost(bill.filled(bounds))
        self._on_tokens(usage.output_tokens or 0)
        self._count(
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cost_microdollars=round(slot.cost * 1e6),
        )
        if not bill.is_complete:
            self._count(estimated_bills=1)
        return usage

    def _cost(self, usage: Usage) -> float:
        return self._budget.most(usage.input_tokens or 0, usage.output_tokens or 0)

    def _outcomes(self, received: "_Received", opening: ThoughtOpening) -> Sequence[Outcome]:
        texts = [
            "" if isinstance(answer, RowError) else answer.response(self._tags, opening.opens_before(answer))
            for _, answer in received.answers
        ]
        shares = shared_usage(received.usage, texts)
        outcomes: list[Outcome] = []
        for (index, answer), text, share in zip(received.answers, texts, shares, strict=True):
            if isinstance(answer, RowError):
                outcomes.append(answer)
            elif opening.is_ambiguous(answer):
                outcomes.append(RowError(f"{self._entry.source} {CUT_WITHOUT_TAGS}"))
            else:
                output_tokens = share.output_tokens or 0
                outcomes.append(
                    Completion(
                        text=text,
                        prompt_tokens=share.input_tokens or 0,
                        completion_tokens=output_tokens,
                        finish_reason=answer.finish_reason,
                        thought_tokens=thought_tokens(output_tokens, share.reasoning_tokens, text, self._tags),
                        logprobs=api_answers.read_logprobs(received.body, index, *received.logprobs),
                    )
                )
        return outcomes

    async def _probe(self, request: Request) -> None:
        """Send a short, harmless prompt: a complete answer shows how the server writes thoughts.

        The second token limit is for a server whose context is too short for the first.
        """
        self._count(probes=1)
        prompt = self.render(PROBE, rendered_parts(request.prompt)[1])
        for max_tokens in (max(PROBE_TOKENS, request.max_tokens), request.max_tokens):
            with suppress(RowError):
                await self._receive(Request(prompt, request.sampling, max_tokens), 1)
                return


def _body_of(request: Request) -> str:
    return json.dumps(rendered_parts(request.prompt)[1])


@dataclass(frozen=True, slots=True)
class _Received:
    """A body, its usage, and the outcome of each choice with its index. Failed choices are left out.

    `logprobs` has the number of tokens and of log-probabilities for each token that may be read.
    """

    body: Mapping[str, Any]
    usage: Usage
    answers: Sequence[tuple[int, api_answers.ApiAnswer | RowError]]
    logprobs: tuple[int, int]
