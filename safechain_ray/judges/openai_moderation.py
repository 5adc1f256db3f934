"""OpenAI's moderation API, or a server that speaks it: the text of one part in, flagged categories out."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from openai import APIError, AsyncOpenAI, AuthenticationError
from pydantic import BaseModel, Field, ValidationError

from safechain_ray.catalog.entries import Endpoint, JudgeEntry
from safechain_ray.errors import EngineStartError, InputError
from safechain_ray.http_clients import openai_client
from safechain_ray.judges.base import Judge, missing_verdict
from safechain_ray.schema import Engine, Part, Verdict

RETRIES = 8
"""On 429, 5xx, timeouts and lost connections, with growing pauses or as long as Retry-After says: about 40 s in all."""

TIMEOUT_SECONDS = 60.0

NO_KEY = "none"
"""What is sent to a server that wants no key: the client insists on one."""

Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Result(BaseModel):
    """One item of a moderation. Categories that the model does not know are null."""

    flagged: bool
    categories: dict[str, bool | None]
    category_scores: dict[str, Score | None]


class _Moderation(BaseModel):
    """The body of an answer; one input has one result."""

    results: tuple[_Result]


@dataclass(frozen=True, slots=True)
class OpenAIModeration:
    """The moderation of the judged text alone: the API knows no conversation, so the prompt is not sent.

    unsafe is `flagged`, the score the largest of the categories', the categories those that are flagged.
    """

    name: str
    endpoint: Endpoint
    client: AsyncOpenAI = field(repr=False)
    slots: asyncio.Semaphore = field(repr=False)

    async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
        """What the endpoint refuses (an over-long text, say) is a verdict with an error.

        Raises EngineStartError where it refuses the key: no other sample would fare better.
        """
        try:
            async with self.slots:
                answer = await self.client.moderations.with_raw_response.create(model=self.endpoint.model, input=text)
            return self._verdict(part, answer.content)
        except AuthenticationError as error:
            raise EngineStartError(
                f"{self.endpoint.base_url} refuses the key in {self.endpoint.api_key_env or '(none was sent)'}: "
                f"{self._said(error)}"
            ) from None
        except APIError as error:
            return missing_verdict(self.name, part, self._said(error))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            return missing_verdict(self.name, part, f"the answer is no moderation: {where}: {first['msg']}")

    def _verdict(self, part: Part, body: bytes) -> Verdict:
        (result,) = _Moderation.model_validate_json(body).results
        score = max((score for score in result.category_scores.values() if score is not None), default=None)
        categories = tuple(name for name, flagged in result.categories.items() if flagged)
        return Verdict(self.name, part, result.flagged, score, categories)

    def _said(self, error: APIError) -> str:
        """What the endpoint said, without the key: some servers quote it."""
        said = error.message
        return (said.replace(self.client.api_key, "***") if self.endpoint.api_key_env else said)[:300]


def build(entry: JudgeEntry, engine: Engine | None) -> Judge:
    if entry.endpoint is None:
        raise InputError(
            f"Judge {entry.name!r} of kind openai_moderation needs a server: give its catalog entry `endpoint:`"
        )
    key = entry.endpoint.api_key()
    client = openai_client(
        entry.endpoint.base_url,
        NO_KEY if key is None else key.get_secret_value(),
        max_retries=RETRIES,
        timeout=TIMEOUT_SECONDS,
    )
    return OpenAIModeration(entry.name, entry.endpoint, client, asyncio.Semaphore(entry.endpoint.max_concurrent))
