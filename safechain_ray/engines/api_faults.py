"""Classifies errors of a provider: a retry, the error of a row, a blocked row, or the end of the run.

`read_status` classifies one HTTP status with its body. `Refusals` also counts earlier answers of the endpoint: some
statuses end the run only without any good answer.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.engines.api_wire import as_count, as_list, as_mapping, as_text, decode_json, parameters
from safechain_ray.errors import BlockedError, EngineRefusedError, RowError
from safechain_ray.types.known_secrets import KnownSecrets
from safechain_ray.types.thinking import well_formed

OVERLOADED = frozenset({429, 503, 529})

RETRYABLE = frozenset({408, 409, 425}) | OVERLOADED

REFUSES_ALL = frozenset({401, 402, 403, 404, 405})

FILTERS = frozenset(
    {
        "contentfilter",
        "contentpolicy",
        "contentpolicyviolation",
        "moderationblocked",
        "datainspectionfailed",
        "prohibitedcontent",
        "responsibleaipolicyviolation",
        "safety",
        "sensitivewordsdetected",
        "promptblocked",
        "1301",
    }
)
"""Codes and types, without case and `_`, of a prompt that a filter stopped: OpenAI, Azure, Moonshot, Alibaba, New API's
gateways; 1301 is Zhipu's and Z.ai's."""

FILTER_MESSAGES = (
    "content exists risk",
    "prohibited_content",
    "content management policy",
    "considered high risk",
    "violates usage guidelines",
    "limited access to this content for safety reasons",
)
"""Phrases, in lower case, of filters without a code of their own, or with an ambiguous code: DeepSeek, Gemini,
Azure, Moonshot, xAI (403 with the code of a missing permission), OpenAI (`invalid_prompt`)."""

_TEXT = r"(?:content|prompt|input|output|request|message|text|response)s?"

FLAGGED = re.compile(rf"\b(?:{_TEXT}|it)\b[^.]{{0,40}}\bflagged\b")
"""A text was flagged."""

NOT_OF_A_TEXT = re.compile(rf"\b(?:account|key|organi[sz]ation|user|team)\b(?:(?!\b{_TEXT}\b)[^.]){{0,40}}\bflagged\b")
"""An account or a key was flagged: no word for a text is between that word and "flagged"."""

FLAGGED_BY_GATEWAY = re.compile(
    rf"(?:this|the|your)(?: user)? {_TEXT} (?:was|were|is|has been) flagged"
    r"(?:\W*|.*(?:moderat|polic|safe|harm|violat).*)",
    re.DOTALL,
)
"""The whole message of a gateway that answers a content filter with a 5xx, in lower case."""

NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance", "1113"})
"""1113 is Zhipu's and Z.ai's."""

LONGEST_RETRY_AFTER = 600.0

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 60.0

LONGEST_QUOTE = 300

LONGEST_MESSAGE = 10_000
"""Characters of an error's message that are examined."""

MOST_DETAILS = 100
"""Items of a list of faults that are read."""

REFUSED_AT_FIRST = 10
"""The run ends after this many rejected requests without an accepted one: they share a rejected parameter."""

SILENCE_SECONDS = 20.0

FORBIDDEN_IN_A_ROW = 10
"""The run ends after this many consecutive 403s or redirects after good answers. Fewer are refusals of content in
unknown words."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure that can be retried. `retry_after` is the delay that the provider requests, in seconds, or 0."""

    text: str
    overload: bool = False
    retry_after: float = 0.0
    not_sent: bool = False
    """There was no connection: the request costs nothing, and does not count."""


class RefusesAllError(Exception):
    """The provider would refuse every request for the same reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def read_status(
    status: int, body: object, headers: Mapping[str, str], now: float, clean: Callable[[str], str] = str
) -> Fault:
    """Classify an error status; `now` is in seconds since 1970.

    `clean` removes secrets from the message before it is cut: the start of a secret could not be detected later.

    Raises:
        BlockedError: A content filter refused the prompt.
        RefusesAllError: The provider would refuse every request.
        RowError: This request alone is invalid.
    """
    error = _error(body)
    message = _message(error)
    text = f"{status}: {clean(message) or 'no message'}"[:LONGEST_QUOTE]
    codes = {str(error.get(key, "")) for key in ("code", "type", "status")}
    if _filtered(status, error, message.lower(), codes):
        raise BlockedError(text)
    if status in REFUSES_ALL or is_redirect(status) or codes & NO_CREDIT:
        raise RefusesAllError(status, text)
    if status in RETRYABLE or status >= 500:
        return Fault(text, status in OVERLOADED, retry_after(headers, now))
    raise RowError(f"the provider refused the request with {text}")


def is_redirect(status: int) -> bool:
    return 300 <= status < 400


def rejected_parameter(body: object, sent: Iterable[str]) -> str | None:
    """The parameter among `sent` that an error names; None where it names none."""
    error = _error(body)
    names = sorted(sent, key=len, reverse=True)
    named = as_text(error.get("param")).rpartition(".")[2]
    if named in names:
        return named
    words = set(re.findall(r"\w+", _message(error)))
    return next((name for name in names if name in words), None)


def wants_max_completion_tokens(body: object) -> bool:
    """Whether an error asks for `max_completion_tokens`, as OpenAI's reasoning models do."""
    error = _error(body)
    about_limit = error.get("param") == "max_tokens" and error.get("code") == "unsupported_parameter"
    words = set(re.findall(r"\w+", _message(error)))
    return about_limit or {"max_tokens", "max_completion_tokens"} <= words


def decode_error(body: bytes) -> object:
    """An error's body: JSON, or its text."""
    try:
        return decode_json(body)
    except ValueError:
        return body.decode(errors="replace")


def status_in(error: object) -> int:
    """The status in the body of an error that has no HTTP status; 500 where the body names none."""
    code = as_count(as_mapping(error).get("code"))
    return code if code is not None and 400 <= code < 600 else 500


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """The delay in seconds that the provider requests, at most ten minutes; 0 without a request."""
    value = headers.get("retry-after")
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if seconds == seconds else 0.0


def backoff(attempt: int, rng: random.Random) -> float:
    """Seconds to wait after attempt number `attempt` (from 1): exponential backoff with full jitter."""
    return rng.uniform(0, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (attempt - 1)))


def _filtered(status: int, error: Mapping[str, Any], message: str, codes: set[str]) -> bool:
    """Whether a content filter refused the request: by its code, by the provider's metadata, or by its wording."""
    inner = as_mapping(error.get("innererror")) or as_mapping(error.get("inner_error"))  # Azure
    named = codes | {as_text(inner.get("code"))}
    if {code.replace("_", "").replace("-", "").lower() for code in named} & FILTERS:
        return True
    if as_mapping(error.get("metadata")).get("reasons"):  # OpenRouter's moderation
        return True
    return _filtered_by_wording(status, message)


def _filtered_by_wording(status: int, message: str) -> bool:
    """Whether a message in lower case is a content filter's.

    A rate limit and a failed server use the same words of requests and nodes. So a 429 is no filter by its wording, and
    "flagged" in a 5xx counts only in the form of a gateway's message.
    """
    if status == 429:
        return False
    if any(words in message for words in FILTER_MESSAGES):
        return True
    if status >= 500:
        return FLAGGED_BY_GATEWAY.fullmatch(message.strip()) is not None
    return FLAGGED.search(message) is not None and NOT_OF_A_TEXT.search(message) is None


def _error(body: object) -> Mapping[str, Any]:
    """The error object. Gemini's endpoint puts it into a list; xAI has the message instead, and a code beside it."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {"message": body} if isinstance(body, str) else {}
    inner = body.get("error") or next(iter(as_list(body.get("errors"))), None)
    if isinstance(inner, dict):
        return inner
    return body if inner is None else {**body, "message": inner}


def _message(error: Mapping[str, Any]) -> str:
    """The provider's message: `message`, or FastAPI's `detail`, a text or a list of faults with their location."""
    for name in ("message", "detail", "msg", "error_msg"):
        if words := _words(error.get(name)):
            return well_formed(words[:LONGEST_MESSAGE])
    return ""


def _words(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(filter(None, map(_words, value[:MOST_DETAILS])))
    if not isinstance(value, dict):
        return as_text(value)
    words = as_text(value.get("msg")) or as_text(value.get("message"))
    location = ".".join(map(str, as_list(value.get("loc"))[:MOST_DETAILS]))
    return f"{location}: {words}" if location and words else words


class AnsweredError(Exception):
    """The provider answered with an error."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class Silence:
    """Reports once that an endpoint has given no answer for `SILENCE_SECONDS`, with the last error.

    Requests are retried for minutes. Without the note a wrong address looks like a slow server until rows fail.
    """

    def __init__(self, entry: ApiEntry, report: Callable[[str], None]) -> None:
        self._entry = entry
        self._report = report
        self._began: float | None = None
        self._is_over = False

    def note_request(self) -> None:
        if self._began is None:
            self._began = time.monotonic()

    def note_answer(self) -> None:
        self._is_over = True

    def note_fault(self, fault: Fault) -> None:
        began = self._began
        if self._is_over or began is None or time.monotonic() - began < SILENCE_SECONDS:
            return
        self._is_over = True
        server = "wait for the server" if fault.overload else "check that the server runs"
        self._report(
            f"No answer from {self._entry.base_url} yet: {fault.text.rstrip('.')}. The requests are retried. "
            f"Fix: {server}, or correct the address with {self._entry.option('base_url=URL')}."
        )


class Refusals:
    """Classifies errors of one endpoint by its earlier answers, and detects its name of the token limit."""

    def __init__(self, entry: ApiEntry, secrets: KnownSecrets) -> None:
        self._secrets = secrets
        self.max_tokens_parameter: str = entry.max_tokens_parameter
        self._entry = entry
        self._answers = self._wrong_requests = self._forbidden = 0

    def note_answer(self) -> None:
        self._answers += 1
        self._forbidden = 0

    def classify(self, refused: AnsweredError, wire: Mapping[str, Any]) -> Fault:
        """Classify an error.

        Raises:
            BlockedError: a content filter refused the prompt.
            RowError: this request alone is invalid.
            EngineRefusedError: the provider would refuse every request.
        """
        try:
            clean = self._secrets.removed_from_message
            return read_status(refused.status, refused.body, refused.headers, time.time(), clean)
        except RefusesAllError as error:
            passing = error.status == 403 or is_redirect(error.status)
            if passing and self._answers and self._forbidden < FORBIDDEN_IN_A_ROW:
                self._forbidden += 1
                raise RowError(f"the provider refused the request with {error}") from None
            raise self._of_all(f"{str(error).rstrip('.')}. {_fix(error.status, self._entry)}") from error
        except RowError as error:
            if "max_tokens" in wire and wants_max_completion_tokens(refused.body):
                self.max_tokens_parameter = "max_completion_tokens"
                return Fault(str(error))
            named = rejected_parameter(refused.body, parameters(wire))
            self._wrong_requests += type(error) is RowError
            if not self._answers and self._wrong_requests >= REFUSED_AT_FIRST:
                omit = f"leave out the parameter with --set 'model.api.omits=[{named or 'NAME'}]'"
                fix = "use a server that accepts them" if self._entry.is_judge else omit
                raise self._of_all(
                    f"the first {self._wrong_requests} requests were all rejected ({error}). Fix: {fix}."
                ) from error
            if named is not None and named not in str(error):
                raise type(error)(f"{error} (parameter {named})") from None
            raise

    def _of_all(self, text: str) -> EngineRefusedError:
        return EngineRefusedError(f"{self._entry.source} refuses the run: {text}")


def _fix(status: int, entry: ApiEntry) -> str:
    match status:
        case 401 | 403 if entry.api_key_env is None:
            return f"No key was sent. Fix: name its environment variable with {entry.option('api_key_env=NAME')}."
        case 401 | 403:
            return f"Fix: check the key in the environment variable {entry.api_key_env}."
        case redirect if is_redirect(redirect):
            other = entry.option("base_url=URL")
            return f"Fix: check the endpoint {entry.base_url}, or set the other address with {other}."
        case 404 | 405:
            return (
                f"Fix: check the model id {entry.api_model!r} (another one: {entry.option('model=ID')}) "
                f"and the endpoint {entry.base_url} (another one: {entry.option('base_url=URL')})."
            )
        case _:
            return "The account has no money or quota left. Fix: add credit, and rerun the command to resume."
