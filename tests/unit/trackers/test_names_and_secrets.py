"""What trackers receive beside figures: names that they take, and nothing of the command line."""

import sys
from pathlib import Path

import pytest

from safechain_ray.storage import open_folder
from safechain_ray.trackers.base import TrackedRun
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


def run(folder: Path) -> TrackedRun:
    return TrackedRun("abc", "run", "runs/run", open_folder(str(folder)), {"samples": 5, "sampling": {"top_p": 0.9}})


def test_the_command_line_is_not_in_the_files_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safechain_ray.trackers.wandb import WandbTracker

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["safechain-ray", "evaluate", "--base-url", "https://a:topsecret@proxy.example"])

    tracker = WandbTracker(run(tmp_path))
    tracker.log({"progress/rows": 1}, 1)
    tracker.finish({"safe": 0.5}, 1, failed=False)

    def written() -> list[bytes]:
        """All files, once W&B's own process has written the rows."""
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        return files if any(b"progress/rows" in content for content in files) else []

    files = wait_for(written)
    assert not [content for content in files if b"topsecret" in content]


@pytest.fixture
def _file_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


@pytest.mark.usefixtures("_file_store")
def test_mlflow_takes_every_name_and_keeps_different_ones_apart(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from safechain_ray.trackers.mlflow import MlflowTracker

    names = ["a/b", "ä/b", "ö/b", "../x", "a//b", "./y", "x" * 400, "x" * 401, "safe@1"]
    tracker = MlflowTracker(run(tmp_path))
    tracker.finish({name: float(number) for number, name in enumerate(names)}, 1, failed=False)

    client = MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("safechain-ray").experiment_id])
    assert sorted(found.data.metrics.values()) == [float(number) for number in range(len(names))]
    assert found.data.metrics["a/b"] == 0.0
    assert found.data.params == {"samples": "5", "sampling.top_p": "0.9"}
    assert found.info.status == "FINISHED"


@pytest.mark.usefixtures("_file_store")
def test_a_resumed_run_is_the_same_one_in_mlflow(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from safechain_ray.trackers.mlflow import MlflowTracker

    for step in (1, 2):
        MlflowTracker(run(tmp_path)).finish({"safe": step / 2}, step, failed=step == 1)

    client = MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("safechain-ray").experiment_id])
    assert found.data.metrics == {"safe": 1.0}
    assert found.info.status == "FINISHED"
