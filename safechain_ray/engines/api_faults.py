"""What an HTTP status with its body means: try again, a row that was blocked or is wrong, or the end of the run."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from safechain_ray.errors import BlockedError, RowError

OVERLOADED = frozenset({429, 503, 529})
AGAIN = frozenset({408, 409, 425}) | OVERLOADED
REFUSES_ALL = frozenset({401, 402, 403, 404, 405})

FILTERS = frozenset(
    {
        "contentfilter",
        "contentpolicy",
        "contentpolicyviolation",
        "moderationblocked",
        "datainspectionfailed",
        "prohibitedcontent",
        "safety",
    }
)
"""Codes and types, without case and `_`, of a prompt that a provider's filter stopped (OpenAI, Azure, Moonshot)."""

FILTER_MESSAGES = ("content exists risk", "prohibited_content", "content management policy", "considered high risk")
"""What filters say that give no code of their own (DeepSeek's, Gemini's, Azure's, Moonshot's), in lower case."""

NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})

LONGEST_RETRY_AFTER = 600.0
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 60.0
LONGEST_QUOTE = 300


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that is worth another try. `retry_after` in seconds is the provider's wish, 0 where it has none."""

    text: str
    overload: bool = False
    retry_after: float = 0.0


class RefusesAllError(Exception):
    """Every request would be refused like this one."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def read_status(status: int, body: object, headers: Mapping[str, str], now: float) -> Fault:
    """What became of a request that was answered with an error; `now` in seconds since 1970.

    Raises BlockedError for a content filter, RefusesAllError for what no request escapes, RowError for a request that
    is wrong itself.
    """
    error = _error(body)
    text = f"{status}: {_message(error) or 'no message'}"[:LONGEST_QUOTE]
    codes = {str(error.get(key, "")) for key in ("code", "type", "status")}
    if status < 500 and _filtered(error, codes):
        raise BlockedError(text)
    if status in REFUSES_ALL or codes & NO_MONEY:
        raise RefusesAllError(status, text)
    if status in AGAIN or status >= 500:
        return Fault(text, status in OVERLOADED, retry_after(headers, now))
    raise RowError(f"the provider refused the request with {text}")


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Seconds that the provider wants to be left alone, at most ten minutes; 0 where it doesn't say."""
    wish = headers.get("retry-after")
    if not wish:
        return 0.0
    try:
        seconds = float(wish)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(wish).timestamp() - now
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if seconds == seconds else 0.0


def backoff(attempt: int, rng: random.Random) -> float:
    """Seconds to wait after try number `attempt` (from 1): full jitter under a bound that doubles."""
    return rng.uniform(0, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (attempt - 1)))


def _filtered(error: Mapping[str, Any], codes: set[str]) -> bool:
    if {code.replace("_", "").replace("-", "").lower() for code in codes} & FILTERS:
        return True
    if isinstance(error.get("metadata"), dict) and error["metadata"].get("reasons"):  # OpenRouter's moderation
        return True
    return any(words in _message(error).lower() for words in FILTER_MESSAGES)


def _error(body: object) -> Mapping[str, Any]:
    """The error object; Gemini's endpoint puts it into a list."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {"message": body} if isinstance(body, str) else {}
    inner = body.get("error", body)
    return inner if isinstance(inner, dict) else {"message": str(inner)}


def _message(error: Mapping[str, Any]) -> str:
    message = error.get("message")
    return message if isinstance(message, str) else ""
