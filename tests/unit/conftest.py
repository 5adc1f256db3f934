"""What all unit tests share: a place for what commands leave."""

from pathlib import Path

import pytest

from safechain_ray.cli import common
from safechain_ray.report import quiet


@pytest.fixture
def own_signals_and_logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For tests that call the command in this process: its handler of SIGTERM and its log file stay away from here."""
    monkeypatch.setattr(common.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(quiet.tempfile, "tempdir", str(tmp_path))
