"""The status of a run that is at work, read from its folder by another process."""

import json
import subprocess
import sys
from typing import Any

import pytest

from safechain_ray.commands.status import read_status
from safechain_ray.runs import record
from safechain_ray.runs.progress import Snapshot
from safechain_ray.testing import Script
from tests.cluster.scripted_runs import Runner

pytestmark = pytest.mark.long


def status_elsewhere(run: Runner) -> dict[str, Any]:
    command = [sys.executable, "-m", "safechain_ray", "status", str(run.output), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    model: dict[str, Any] = json.loads(done.stdout)["models"][0]
    return model


def test_at_every_moment_the_folder_tells_what_the_driver_knows(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "NOTE_SECONDS", 0.0)  # every look is noted, so that figures can be compared
    states: list[str] = []
    elsewhere: list[dict[str, Any]] = []

    def compare(snapshot: Snapshot) -> None:
        (found,) = read_status(str(run.output)).models
        states.append(found.state)
        assert (found.rows, found.total) == (snapshot.done, 300)
        assert found.counts.get("error", 0) == snapshot.committed.get("error", 0)
        if snapshot.committed.get("rows", 0) and not elsewhere:
            elsewhere.append(status_elsewhere(run) | {"known": snapshot.done})

    run.on_update = compare
    run(Script(seconds=0.2, refuses=lambda request: "bicycle" in request.prompt), **{"resources.max_running": 16})

    assert list(dict.fromkeys(states)) == ["starting", "running"]
    (seen,) = elsewhere
    assert (seen["state"], seen["rows"]) == ("running", seen["known"])
    (found,) = read_status(str(run.output)).models
    assert (found.state, found.rows) == ("done", 300)
    assert found.counts["ok"] + found.counts["error"] == 300
    assert found.counts["error"] > 0
