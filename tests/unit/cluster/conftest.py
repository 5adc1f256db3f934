"""Reporters without their thread: tests report when they say so, and nothing runs on behind them."""

import pytest

from safechain_ray.cluster.tally import Reporter


@pytest.fixture(autouse=True)
def _no_reporter_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reporter, "_report_for_ever", lambda self: None)
