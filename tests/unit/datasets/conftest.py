"""Shared fixtures of the data set tests."""

import pytest

from safechain_ray.datasets import unpacking


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may unpack to one MiB, however small it is."""
    monkeypatch.setattr(unpacking, "LEAST_LIMIT", 2**20)
    monkeypatch.setattr(unpacking, "RATIO", 0)
