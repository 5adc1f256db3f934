"""Workers without Ray: reporters have no thread (tests report when they say so), and there is one node."""

import pytest

from safechain_ray.cluster.progress import ProgressReporter
from safechain_ray.cluster.workers import inflight_tracker
from tests.unit.cluster.local_actors import NODE


@pytest.fixture(autouse=True)
def _no_reporter_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressReporter, "_report_for_ever", lambda self: None)


@pytest.fixture(autouse=True)
def _one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflight_tracker, "this_node", lambda: NODE)
