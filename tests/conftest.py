"""What tests of several folders share."""

import pytest
from real_run import RealRun, evaluated


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    """Made once, in about a minute: nobody may change its folder."""
    return evaluated(tmp_path_factory.mktemp("runs") / "real")
