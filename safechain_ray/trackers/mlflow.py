"""A run in MLflow: progress and figures as metrics, the config as parameters."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from safechain_ray.trackers.base import PROJECT, TrackedRun
from safechain_ray.types import short_hash

RUN_ID = "safechain_ray.run_id"
"""The tag by which a resumed run is found."""

MOST_CHARACTERS = 500
"""Of a parameter's value, so that every server takes it."""

MOST_PARAMETERS = 100
"""In one request, by MLflow's REST API (Log Batch)."""

MOST_METRICS = 1000

MOST_NAME = 200
"""Characters of a name without its hash; MLflow takes 250."""


class MlflowTracker:
    """A run of the experiment MLFLOW_EXPERIMENT_NAME on the server MLFLOW_TRACKING_URI."""

    def __init__(self, run: TrackedRun) -> None:
        self._client = MlflowClient()
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        found = self._client.search_runs([experiment], f"tags.`{RUN_ID}` = '{run.run_id}'", max_results=1)
        tags = {RUN_ID: run.run_id, "safechain_ray.folder": run.place}
        stored = found[0] if found else self._client.create_run(experiment, run_name=run.name, tags=tags)
        self._id = stored.info.run_id
        if stored.data.params:
            self._client.update_run(self._id, status="RUNNING")
            return
        parameters = [Param(_name(key), str(value)[:MOST_CHARACTERS]) for key, value in _flat(run.config)]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=parameters[start : start + MOST_PARAMETERS])

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(_name(key), value, now, step) for key, value in values.items()]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + MOST_METRICS])

    def finish(self, figures: Mapping[str, float], step: int, failed: bool) -> None:
        try:
            self.log(figures, step)
        finally:
            self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _experiment(self, name: str) -> str:
        """The id of the experiment. Another run of a sweep may create it at the same moment."""
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:
            created = self._client.get_experiment_by_name(name)
            if created is None:
                raise
            return str(created.experiment_id)


def _name(key: str) -> str:
    """The key as MLflow takes it: short, of some characters, and no path with dots. A hash keeps changed ones apart."""
    parts = (re.sub(r"[^\w\-. :]", "_", part, flags=re.ASCII).strip(". ") for part in key.split("/"))
    name = "/".join(filter(None, parts))
    return name if name == key and len(name) <= MOST_NAME else f"{name[:MOST_NAME]}-{short_hash(key)}"


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings as `sampling.top_p`. Lists are leaves."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
