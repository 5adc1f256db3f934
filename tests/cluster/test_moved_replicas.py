"""A GPU moves between the pools of a running stage, on a real Ray cluster of several nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from safechain_ray.runs import rebalance
from tests.cluster.fault_runs import FaultRuns, GpuCluster, answers_in, noted
from tests.cluster.scripted_runs import guard_script

pytestmark = pytest.mark.long


@pytest.fixture
def cluster() -> Iterator[GpuCluster]:
    cluster = GpuCluster()
    yield cluster.with_gpus(3)
    cluster.shutdown()


def test_a_judge_that_is_slower_than_planned_gets_the_gpu_of_a_replica_of_the_model(
    cluster: GpuCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebalance, "WINDOW_SECONDS", 5.0)
    monkeypatch.setattr(rebalance, "LEAST_SECONDS_LEFT", 5.0)
    runs = FaultRuns(cluster, tmp_path)
    judged = tmp_path / "judged.jsonl"
    judged.touch()
    guard = guard_script(seconds=0.6, answer=noted(judged, lambda request: "safe"))
    done = runs.run(runs.script(seconds=0.01), guard, **runs.config(900, judges=["demo-guard", "refusal-match"]))
    assert len(runs.results()) == 900
    assert done.metrics.settings[0].outcomes["ok"] == 900
    assert {verdict["error"] for row in runs.run.rows for verdict in row["verdicts"]} == {None}
    moved = [sentence for sentence in runs.run.reporter.sentences if "A GPU moves from" in sentence]
    assert moved == [
        "demo-guard has more work than its replicas can do, and model has less. A GPU moves from model (now 1) to "
        "demo-guard (now 2)."
    ]
    assert len({answer.node for answer in answers_in(judged)}) == 2  # the new replica has judged
