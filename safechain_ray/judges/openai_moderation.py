"""Moderation judge (OpenAI's API or a compatible server): the text of one part in, flagged categories out."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from openai import APIError, AsyncOpenAI, AuthenticationError, OpenAIError
from pydantic import BaseModel, Field, ValidationError

from safechain_ray.catalog.judge_entries import Endpoint, JudgeEntry
from safechain_ray.errors import EngineStartError, InputError
from safechain_ray.http_clients import openai_client, secrets_sent
from safechain_ray.http_clients.provider_client import limited_to
from safechain_ray.judges.base import Judge, missing_verdict
from safechain_ray.types import Engine, Part, Verdict
from safechain_ray.types.known_secrets import KnownSecrets
from safechain_ray.types.thinking import well_formed

RETRIES = 8
"""Retries on 429, 5xx, timeouts and lost connections, with backoff or after Retry-After: about 40 s in total."""

TIMEOUT_SECONDS = 60.0

LONGEST_QUOTE = 300

MOST_BYTES = 2**20
"""Size limit of an answer; one with all categories has about 2 kB."""

Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Result(BaseModel):
    """One item of a moderation. Categories unknown to the model are null."""

    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, Score | None]


class _Moderation(BaseModel):
    """The body of an answer; one input gives one result."""

    results: tuple[_Result]


@dataclass(frozen=True, slots=True)
class OpenAIModeration:
    """Moderates the judged text alone. The API has no conversations, so the prompt is not sent.

    `unsafe` is `flagged`, the score is the largest category score, and the categories are the flagged ones.
    """

    name: str
    endpoint: Endpoint
    client: AsyncOpenAI = field(repr=False)
    secrets: KnownSecrets = field(repr=False)
    slots: asyncio.Semaphore = field(repr=False)

    async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
        """A request that the endpoint refuses (an over-long text) gives a verdict with an error.

        Raises EngineStartError if the endpoint refuses the key: every other sample would fail too.
        """
        try:
            async with self.slots:
                with limited_to(MOST_BYTES):
                    create = self.client.moderations.with_raw_response.create
                    answer = await create(model=self.endpoint.model, input=text)
            return self._verdict(part, answer.content)
        except AuthenticationError as error:
            raise EngineStartError(
                f"{self.endpoint.base_url} refuses the key in {self.endpoint.api_key_env or '(none was sent)'}: "
                f"{self._message(error)}. Fix: name the variable of the key with --set "
                "judges.N.endpoint.api_key_env=NAME, where N is the judge's place in `judges`, from 0."
            ) from None
        except OpenAIError as error:
            return missing_verdict(self.name, part, self._message(error))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            reason = f"the answer is no moderation: {where}: {first['msg']}"
            return missing_verdict(self.name, part, self._quotable(reason))

    def _verdict(self, part: Part, body: bytes) -> Verdict:
        (result,) = _Moderation.model_validate_json(body).results
        score = max((score for score in result.category_scores.values() if score is not None), default=None)
        categories = tuple(name for name, flagged in result.categories.items() if flagged)
        return Verdict(self.name, part, result.flagged, score, categories)

    def _message(self, error: OpenAIError) -> str:
        return self._quotable(error.message if isinstance(error, APIError) else str(error))

    def _quotable(self, text: str) -> str:
        """The endpoint's message without secrets, and short enough for a table."""
        return well_formed(self.secrets.removed_from_message(text))[:LONGEST_QUOTE]


def build(entry: JudgeEntry, engine: Engine | None) -> Judge:
    if entry.endpoint is None:
        raise InputError(
            f"Judge {entry.name!r} of kind openai_moderation needs a server. Fix: add `endpoint:` to its entry."
        )
    url, secret = entry.endpoint.base_url, entry.endpoint.api_key()
    key = None if secret is None else secret.get_secret_value()
    client = openai_client(url, key, max_retries=RETRIES, timeout=TIMEOUT_SECONDS)
    slots = asyncio.Semaphore(entry.endpoint.max_concurrent)
    return OpenAIModeration(entry.name, entry.endpoint, client, secrets_sent(url, key), slots)
