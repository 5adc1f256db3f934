"""Published data for the tests that need it: a test without it is skipped, and never takes other input."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])

FOLDER = Path(os.environ.get("SAFECHAIN_REAL_DATA") or Path(__file__).parents[2] / "shared")
"""Holds `data/` and `paper/`. It lies beside the project, or where SAFECHAIN_REAL_DATA says."""


def real(name: str) -> Path:
    """The path of a published file, for example `data/strongreject.csv`."""
    return FOLDER / name


def needs_real_data(*names: str) -> Callable[[Test], Test]:
    """Mark a test with `real_data`, and skip it with the reason where one of the files is absent."""
    absent = [name for name in names if not real(name).exists()]
    skip = pytest.mark.skipif(bool(absent), reason=f"published data is absent: {', '.join(absent)}")

    def mark(test: Test) -> Test:
        return pytest.mark.real_data(skip(test))

    return mark
