"""The key of an endpoint: read from the environment, and removed from what the provider says."""

import os
from dataclasses import dataclass, field

from safechain_ray.catalog.api_entries import ApiEntry

NO_KEY = "none"
"""Sent to a server that needs no key, because the client requires one."""

LONG_KEY = 12
"""Shortest key that an answer can't hold by chance. A shorter one (`EMPTY`, say) is removed from errors only."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Providers quote a wrong key in their message. Some servers quote the whole request."""

    value: str = field(repr=False)

    @classmethod
    def of(cls, entry: ApiEntry) -> "ApiKey":
        return cls(os.environ[entry.api_key_env].strip() if entry.api_key_env else NO_KEY)

    def removed_from(self, text: str) -> str:
        return text if self.value == NO_KEY else text.replace(self.value, "***")

    def removed_from_error(self, body: bytes) -> bytes:
        return body if self.value == NO_KEY else body.replace(self.value.encode(), b"***")

    def removed_from_answer(self, body: bytes) -> bytes:
        return body if len(self.value) < LONG_KEY else self.removed_from_error(body)


def missing_key(entry: ApiEntry) -> str | None:
    """What to do where the environment lacks the entry's key; None where all is there."""
    if entry.api_key_env is None or os.environ.get(entry.api_key_env, "").strip():
        return None
    return (
        f"No key for {entry.source}: set the environment variable {entry.api_key_env}, "
        "or name another one with --set model.api_key_env=NAME."
    )
