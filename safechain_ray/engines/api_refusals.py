"""Classifies a provider's errors, given its earlier answers: the error of a row, or the end of the run."""

import time
from collections.abc import Mapping
from typing import Any

from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.engines.api_faults import (
    Fault,
    RefusesAllError,
    is_redirect,
    read_status,
    rejected_parameter,
    wants_max_completion_tokens,
)
from safechain_ray.engines.api_wire import parameters
from safechain_ray.errors import EngineRefusedError, RowError
from safechain_ray.types.known_secrets import KnownSecrets

REFUSED_AT_FIRST = 10
"""The run ends after this many rejected requests without an accepted one: they share a rejected parameter."""

FORBIDDEN_IN_A_ROW = 10
"""This many 403s or redirects in a row after good answers end the run; fewer are content refusals in unknown words."""


class AnsweredError(Exception):
    """The provider answered with an error."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class Refusals:
    """Counts the refusals of one endpoint, and detects its name for the token limit."""

    def __init__(self, entry: ApiEntry, secrets: KnownSecrets) -> None:
        self._secrets = secrets
        self.max_tokens_parameter: str = entry.max_tokens_parameter
        self._entry = entry
        self._answers = self._wrong_requests = self._forbidden = 0

    def note_answer(self) -> None:
        self._answers += 1
        self._forbidden = 0

    def understand(self, refused: AnsweredError, wire: Mapping[str, Any]) -> Fault:
        """The fault behind an error's status.

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
            raise self._of_all(f"{error}. {_fix(error.status, self._entry)}") from error
        except RowError as error:
            if "max_tokens" in wire and wants_max_completion_tokens(refused.body):
                self.max_tokens_parameter = "max_completion_tokens"
                return Fault(str(error))
            named = rejected_parameter(refused.body, parameters(wire))
            self._wrong_requests += type(error) is RowError
            if not self._answers and self._wrong_requests >= REFUSED_AT_FIRST:
                raise self._of_all(
                    f"the first {self._wrong_requests} requests were all rejected ({error}). Fix: leave out the "
                    f"sampling parameter that the provider refuses with --set 'model.api.omits=[{named or 'NAME'}]'"
                ) from error
            if named is not None and named not in str(error):
                raise type(error)(f"{error} (parameter {named})") from None
            raise

    def _of_all(self, text: str) -> EngineRefusedError:
        return EngineRefusedError(f"{self._entry.source} refuses the run: {text}")


def _fix(status: int, entry: ApiEntry) -> str:
    match status:
        case 401 | 403 if entry.api_key_env is None:
            return "No key was sent: name its environment variable with --set model.api_key_env=NAME."
        case 401 | 403:
            return f"Check the key in the environment variable {entry.api_key_env}."
        case redirect if is_redirect(redirect):
            return (
                f"Check the endpoint {entry.base_url}. If the other address is right, set it: --base-url URL for a "
                "model, --set judge.endpoint.base_url=URL for a judge of preferences."
            )
        case 404 | 405:
            return (
                f"Check the model id {entry.api_model!r} (another one: --set model.api_model=ID) "
                f"and the endpoint {entry.base_url} (another one: --base-url URL)."
            )
        case _:
            return "The account has no money or quota left."
