"""What tests of several folders share."""

from collections.abc import Iterator

import pytest

from safechain_ray.cli.common import ExitCode
from tests.real_run import RealRun, evaluated

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
