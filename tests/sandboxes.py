"""The marker of tests that run code in a sandbox. Where no sandbox works they are skipped, with the reason."""

from functools import cache

import pytest

from safechain_ray.benchmarks.sandbox import why_no_sandbox

needs_sandbox = pytest.mark.sandbox

_why_not = cache(why_no_sandbox)  # starting a sandbox takes a second: once, and only if a selected test needs one


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("sandbox") and (reason := _why_not()):
        pytest.skip(reason)
