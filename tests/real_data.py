"""Published data for the tests that need it. Without the data such a test is skipped; it never uses other input.

This is the only file of the tests that looks beside the project.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])

FOLDER = Path(os.environ.get("SAFECHAIN_REAL_DATA") or Path(__file__).parents[2] / "shared")
"""Holds `data/`, `paper/` and `cases/`. It lies beside the project, or where SAFECHAIN_REAL_DATA says."""


def real(name: str) -> Path:
    """The path of a published file or folder, for example `data/strongreject.csv`."""
    return FOLDER / name


def real_data_marks(*names: str) -> list[pytest.MarkDecorator]:
    """The mark `real_data`, and one that skips with the reason where one of the files is absent."""
    absent = [name for name in names if not real(name).exists()]
    skip = pytest.mark.skipif(bool(absent), reason=f"published data is absent: {', '.join(absent)}")
    return [pytest.mark.real_data, skip]


def needs_real_data(*names: str) -> Callable[[Test], Test]:
    """A decorator with `real_data_marks`."""

    def mark(test: Test) -> Test:
        for each in real_data_marks(*names):
            test = each(test)
        return test

    return mark
