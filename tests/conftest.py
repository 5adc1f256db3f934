"""What tests of several folders share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from safechain_ray.cli.common import ExitCode
from tests.real_run import RealRun, evaluated
from tests.sandboxes import pytest_runtest_setup  # noqa: F401  (hook)
from tests.tiers import (  # noqa: F401  (hooks)
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_ignore_collect,
    pytest_runtest_call,
    pytest_runtestloop,
)

# Without a deadline: on a busy machine a pause is no failure. `make test-fast` passes --hypothesis-profile fast.
settings.register_profile("full", deadline=None, max_examples=50)
settings.register_profile("fast", deadline=None, max_examples=10)
settings.load_profile("full")

EXIT_CODE = ExitCode()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Each driver of a process leaves native threads of Ray behind; the tests of clusters have dozens of drivers."""
    yield
    EXIT_CODE.keep(int(session.exitstatus))


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    """Made once, in about a minute: nobody may change its folder."""
    return evaluated(tmp_path_factory.mktemp("runs") / "real")
