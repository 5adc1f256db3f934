"""Published data for the tests that need it: a test without it is skipped, and never takes other input."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("SAFECHAIN_REAL_DATA") or Path(__file__).parents[2] / "shared")
"""Holds `data/` and `paper/`. It lies beside the project, or where SAFECHAIN_REAL_DATA says."""


def needs_real_data(*names: str) -> pytest.MarkDecorator:
    """Marks a test `real_data`-dependent: it is skipped, with the reason, where one of the files is absent."""
    absent = [name for name in names if not (FOLDER / name).exists()]
    return pytest.mark.skipif(bool(absent), reason=f"published data is absent: {', '.join(absent)}")
