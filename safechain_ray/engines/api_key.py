"""The key of an endpoint, read from the environment."""

import os

from safechain_ray.catalog.api_entries import ApiEntry


def key_of(entry: ApiEntry) -> str | None:
    """The key; None where the entry names no variable. The variable is set: see `missing_key`."""
    return os.environ[entry.api_key_env].strip() if entry.api_key_env else None


def missing_key(entry: ApiEntry) -> str | None:
    """What to do where the environment lacks the entry's key; None where all is there."""
    if entry.api_key_env is None or os.environ.get(entry.api_key_env, "").strip():
        return None
    return (
        f"No key for {entry.source}: set the environment variable {entry.api_key_env}, "
        "or name another one with --set model.api_key_env=NAME."
    )
