"""A run that reports to W&B, MLflow and TensorBoard: what each has of it, read back with the tracker's own reader."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.testing import Script
from tests.cluster.scripted_runs import Runner
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("one_driver")

SAFE_AT_1 = "quickstart/default/demo-guard/response/safe_at_1"
ERRORS = "quickstart/default/errors"
ALL = ["wandb", "mlflow", "tensorboard"]


@pytest.fixture(autouse=True)
def _local_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B without its service, MLflow with its file store."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def test_the_trackers_have_the_figures_and_the_progress_of_a_run_and_its_second_attempt_is_the_same_run(
    run: Runner, tmp_path: Path
) -> None:
    first = run(Script(refuses=lambda request: "bicycle" in request.prompt), report_to=ALL)
    done = run(report_to=ALL)
    errors = first.metrics.settings[0].outcomes["error"]
    assert errors > done.metrics.settings[0].outcomes["error"] == 0

    assert not [sentence for sentence in run.reporter.sentences if "failed" in sentence]
    safe = done.metrics.settings[0].judges[0].safe_at_1.value
    run_id = json.loads((run.output / "run.json").read_text())["run_id"]

    events = tensorboard_scalars(run.output / "tensorboard")
    assert events[SAFE_AT_1] == pytest.approx([safe, safe])
    assert events[ERRORS] == [errors, 0]
    assert events["progress/rows"][-1] == 300

    metrics, parameters, status = mlflow_run(run_id)
    assert (metrics[SAFE_AT_1], metrics[ERRORS]) == (safe, 0)
    assert metrics["progress/rows"] == 300
    assert (parameters["model.name"], parameters["samples"], status) == ("demo-reasoner", "5", "FINISHED")

    summaries = wait_for(lambda: finished_summaries(tmp_path, run_id))
    assert [(summary[SAFE_AT_1], summary[ERRORS]) for summary in summaries] == [(safe, errors), (safe, 0)]


def test_a_server_that_is_not_there_is_reported_and_the_run_is_whole(run: Runner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    done = run(report_to=["mlflow"])

    assert done.metrics.settings[0].rows == 300
    (sentence,) = [sentence for sentence in run.reporter.sentences if "mlflow" in sentence]
    assert "mlflow failed" in sentence


def tensorboard_scalars(folder: Path) -> dict[str, list[float]]:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.util.tensor_util import make_ndarray

    values: dict[str, list[float]] = {}
    for file in sorted(folder.iterdir()):
        multiplexer = EventMultiplexer({"run": str(file)}).Reload()
        for tag in multiplexer.Runs()["run"]["tensors"]:
            found = multiplexer.Tensors("run", tag)
            values.setdefault(tag, []).extend(float(make_ndarray(event.tensor_proto)) for event in found)
    return values


def mlflow_run(run_id: str) -> tuple[dict[str, float], dict[str, str], str]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("safechain-ray")
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`safechain_ray.run_id` = '{run_id}'")
    return found.data.metrics, found.data.params, found.info.status


def finished_summaries(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """The summaries, once W&B's own process has written the figures of all; none before."""
    summaries = wandb_summaries(folder, run_id)
    return summaries if all(ERRORS in summary for summary in summaries) else []


def wandb_summaries(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """The last summary in each offline file of the run."""
    from wandb.proto.wandb_internal_pb2 import Record

    summaries = []
    for file in sorted(folder.glob(f"wandb/offline-run-*-{run_id}/*.wandb")):
        summary = {}
        for data in leveldb_records(file.read_bytes()):
            for update in Record.FromString(data).summary.update:
                summary[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
        summaries.append(summary)
    return summaries


def leveldb_records(log: bytes, block: int = 32768, header: int = 7) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, after W&B's own header, which is as long as that of a chunk."""
    place, record = header, b""
    while place + header <= len(log):
        if block - place % block < header:
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", log, place + 4)
        record += log[place + header : place + header + length]
        place += header + length
        if kind in (1, 4):  # a whole record, or the last chunk of one
            yield record
            record = b""
