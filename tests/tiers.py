"""pytest hooks for the tiers of the tests: markers by folder, a guard on fast tests, modules shared by processes.

`make test-fast` runs what is marked `fast`: every test of tests/unit without a marker of a slower tier. A fast test
imports neither vllm nor Ray's cluster fixture and starts no Ray, so that the inner loop takes seconds. The guard fails
a fast test that does, and a selection of fast tests whose modules import them.
"""

import os
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TIERS_BY_FOLDER = ("engine", "cluster", "browser")
SLOWER = frozenset({*TIERS_BY_FOLDER, "slow", "long", "sandbox", "real_data"})
HEAVY = ("vllm", "ray.cluster_utils")

SHARED = "SAFECHAIN_TEST_CLAIMS"
"""Environment variable: the folder in which processes claim modules. The first to claim a module runs it."""


def folder_marker(path: Path, tests: Path = TESTS) -> str | None:
    """The marker of all tests of a folder, or None if its tests have markers of their own."""
    below = path.relative_to(tests).parts if path.is_relative_to(tests) else ()
    return below[0] if below and below[0] in TIERS_BY_FOLDER else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the markers before pytest selects by `-m`."""
    for item in items:
        if marker := folder_marker(item.path):
            item.add_marker(marker)
        if is_fast(item):
            item.add_marker("fast")


def is_fast(item: pytest.Item) -> bool:
    return SLOWER.isdisjoint(mark.name for mark in item.iter_markers())


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.items and all(map(is_fast, session.items)) and (found := heavy_modules()):
        raise pytest.UsageError(f"the modules of the fast tests import {', '.join(found)}. {FIX}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a fast test that imports what only slower tiers may, or that starts Ray."""
    before = heavy_modules()
    yield
    if is_fast(item) and (found := [name for name in heavy_modules() if name not in before]):
        pytest.fail(f"a fast test started {', '.join(found)}. {FIX}", pytrace=False)


FIX = "Fix: import it in the tests that need it and mark these `slow`, or move them to tests/engine or tests/cluster."


def heavy_modules() -> list[str]:
    """What is imported or running in this process that no fast test may start."""
    # A stand-in that a test puts into sys.modules has no spec.
    found = [name for name in HEAVY if getattr(sys.modules.get(name), "__spec__", None) is not None]
    ray = sys.modules.get("ray")
    if ray is not None and getattr(ray, "is_initialized", bool)():
        found.append("a Ray")
    return found


def claim_of(module: Path) -> Path | None:
    """The file that marks a module as claimed; None if this process does not share its modules."""
    folder = os.environ.get(SHARED)
    return Path(folder) / sha256(str(module).encode()).hexdigest() if folder else None


def claim(module: Path) -> bool:
    """Whether this process runs the module: it has claimed it, now or before."""
    file = claim_of(module)
    if file is None:
        return True
    try:
        with file.open("x") as made:
            made.write(str(os.getpid()))
    except FileExistsError:
        return file.read_text() == str(os.getpid())
    return True


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Do not import modules that another process has claimed already."""
    file = claim_of(collection_path)
    return True if file is not None and file.exists() else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the modules that this process claims; pytest's own loop if it does not share modules.

    pytest decides by the next item which fixtures and folders end. So the next item must be one that runs here: the
    next module is claimed before the last test of the current one.
    """
    if SHARED not in os.environ or session.testsfailed or session.config.option.collectonly:
        return None
    items = (item for item in session.items if claim(item.path))
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True
