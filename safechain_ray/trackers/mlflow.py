"""A run in MLflow: progress and figures as metrics, the config as parameters."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from safechain_ray.trackers.base import PROJECT, TrackedRun

RUN_ID = "safechain_ray.run_id"
"""The tag by which a resumed run is found."""

MOST_CHARACTERS = 500
"""Of a parameter's value, so that every server takes it."""

MOST_PARAMETERS = 100
"""In one request, by MLflow's REST API (Log Batch)."""

MOST_METRICS = 1000


class MlflowTracker:
    """A run of the experiment MLFLOW_EXPERIMENT_NAME on the server MLFLOW_TRACKING_URI."""

    def __init__(self, run: TrackedRun) -> None:
        self._client = MlflowClient()
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        found = self._client.search_runs([experiment], f"tags.`{RUN_ID}` = '{run.run_id}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        tags = {RUN_ID: run.run_id, "safechain_ray.folder": run.place}
        self._id = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        parameters = [Param(_name(key), str(value)[:MOST_CHARACTERS]) for key, value in _flat(run.config)]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=parameters[start : start + MOST_PARAMETERS])

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(_name(key), value, now, step) for key, value in values.items()]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + MOST_METRICS])

    def finish(self, figures: Mapping[str, float], step: int, failed: bool) -> None:
        self.log(figures, step)
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)


def _name(key: str) -> str:
    """The key with the characters that MLflow takes in names."""
    return re.sub(r"[^\w\-. :/]", "_", key, flags=re.ASCII)


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings as `sampling.top_p`. Lists are leaves."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
