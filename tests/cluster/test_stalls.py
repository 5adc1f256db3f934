"""Engines that stop answering, or never start, on a real Ray cluster."""

import pytest

from safechain_ray.errors import StallError
from safechain_ray.testing import Script
from tests.cluster.scripted_runs import Runner, guard_script

pytestmark = pytest.mark.usefixtures("one_driver")

HANGS = 10_000.0
HALF_A_MINUTE = {"resources.stall_timeout_minutes": 0.5}  # longer than a busy machine takes to start an actor


@pytest.mark.long
def test_a_model_that_hangs_is_named(run: Runner) -> None:
    with pytest.raises(StallError, match="pool 'model' holds 300 rows"):
        run(Script(seconds=HANGS), **HALF_A_MINUTE)


def test_a_judge_that_hangs_is_named_and_the_run_can_go_on(run: Runner) -> None:
    with pytest.raises(StallError, match="pool 'demo-guard' holds"):
        run(guard=guard_script(seconds=HANGS), **HALF_A_MINUTE)
    assert run().metrics.settings[0].rows == 300


def test_an_engine_that_never_starts_is_named(run: Runner) -> None:
    with pytest.raises(StallError, match="pool 'model' has no engine that is ready"):
        run(Script(start_seconds=60), **{"resources.stall_timeout_minutes": 0.1})
