"""Catalog entries of judges, and the servers that some of them call."""

import os

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from safechain_ray.catalog.entries import ApiEntry, EngineNeeds, Entry
from safechain_ray.errors import InputError
from safechain_ray.types import PLAIN_URL, VariableName


class Endpoint(BaseModel):
    """A server that judges. The API key comes from the environment only."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = Field(pattern=PLAIN_URL, description="without a key, a user or a query in it")
    model: str = Field(min_length=1)
    api_key_env: VariableName = Field("", description="environment variable with the key; without it no key is sent")
    max_concurrent: int = Field(16, ge=1, description="concurrent requests")

    def api_key(self, key: str = "judges.N.endpoint.api_key_env") -> SecretStr | None:
        """The API key; None for an endpoint without one. Raises InputError with the config's `key` for its variable."""
        if not self.api_key_env:
            return None
        if not (secret := os.environ.get(self.api_key_env, "").strip()):
            raise InputError(
                f"The environment variable {self.api_key_env} is not set. The key for {self.base_url} is read from it. "
                f"Fix: run `export {self.api_key_env}=...` before the command, "
                f"or name another one with --set {key}=NAME."
            )
        return SecretStr(secret)


class JudgeEntry(Entry):
    """A judge: `kind` selects the code, the other fields are its data.

    Kinds that run a model have `engine`, kinds that call a server have `endpoint`, rules have neither. Judges of kind
    `preference` compare two responses, and only `prefer` uses them. All other judges judge one response.
    """

    kind: str = Field(description="the module of `judges/` with its code, or `preference`")
    engine: EngineNeeds | None = None
    endpoint: Endpoint | None = Field(None, exclude_if=lambda endpoint: endpoint is None)
    phrases: str | None = Field(None, description="refusal_match: the file of refusal phrases, one a line")

    @property
    def is_rule(self) -> bool:
        """Whether the judge is a rule: it has no pool of workers, and runs where blocks are written."""
        return self.engine is None and self.endpoint is None


def judging_api(judge: JudgeEntry) -> ApiEntry:
    """The chat model at a judge's endpoint. Its answer is one letter, truncated by design."""
    assert judge.endpoint is not None
    return ApiEntry(
        name=judge.name,
        base_url=judge.endpoint.base_url,
        api_model=judge.endpoint.model,
        api_key_env=judge.endpoint.api_key_env or None,
        max_concurrent=judge.endpoint.max_concurrent,
        opens_thought=False,
        is_judge=True,
    )
