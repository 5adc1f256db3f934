"""A sweep: the same settings of many models, each a run of its own; one that fails leaves the others alone."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from safechain_ray.config import RunConfig, SweepConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError, SafechainError, UnknownNameError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.pipelines.evaluate import evaluate
from safechain_ray.pipelines.observer import Observer
from safechain_ray.pipelines.resolve import resolve_names
from safechain_ray.pipelines.run_folder import read_metrics
from safechain_ray.storage import Folder, open_folder

SWEEP_FILE = "sweep.json"

Status = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class SweptModel:
    """How far one model of a sweep is. `folder` is its run's, below the sweep's; `error` says why it failed."""

    model: str
    folder: str
    status: Status = "queued"
    error: str | None = None
    errors_in_samples: int = 0


@dataclass(frozen=True, slots=True)
class SweepDone:
    """How a sweep ended; `metrics` are those of the models that have any, in the sweep's order."""

    folder: Folder
    models: tuple[SweptModel, ...]
    metrics: tuple[RunMetrics, ...]

    @property
    def failed(self) -> bool:
        return any(model.status == "failed" for model in self.models)

    @property
    def errors(self) -> int:
        return sum(model.errors_in_samples for model in self.models)


def sweep(
    config: SweepConfig,
    observer: Observer,
    start_engine: StartEngine,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> SweepDone:
    """Evaluate the models one after the other, going on where an earlier try was cut off.

    `only` and `skip` name models of the sweep. Raises InputError for whatever can't work in any run, before the first
    starts; a run that fails later is noted, and the next one begins.
    """
    runs = {run.model.short_name: run for run in config.runs()}
    for name in (*only, *skip):
        if name not in runs:
            raise UnknownNameError("model of the sweep", name, runs)
    for run in runs.values():
        resolve_names(run)
    folder = open_folder(config.output)
    folder.check_writable()
    earlier = _earlier(folder)
    models = {name: earlier.get(name, SweptModel(name, name)) for name in runs}
    wanted = [name for name in runs if (not only or name in only) and name not in skip]
    for number, name in enumerate(wanted, start=1):
        observer.say(f"Model {number} of {len(wanted)}: {name}")
        models[name] = SweptModel(name, name, "running")
        _write(folder, models)
        models[name] = _evaluated(runs[name], observer, start_engine)
        _write(folder, models)
    return SweepDone(folder, tuple(models.values()), tuple(_metrics(folder, models).values()))


def read_sweep(uri: str) -> tuple[RunMetrics, ...]:
    """The metrics of a sweep's models that have any. Raises InputError where there is no sweep."""
    return tuple(read_swept(uri).values())


def read_swept(uri: str) -> dict[str, RunMetrics]:
    """The same by the folder of each model's run."""
    folder = open_folder(uri)
    if not folder.exists(SWEEP_FILE):
        raise InputError(f"{folder} holds no sweep: there is no {SWEEP_FILE}.")
    return _metrics(folder, _earlier(folder))


def is_sweep(uri: str) -> bool:
    return open_folder(uri).exists(SWEEP_FILE)


def _evaluated(run: RunConfig, observer: Observer, start_engine: StartEngine) -> SweptModel:
    name = run.model.short_name
    try:
        done = evaluate(run, observer, start_engine)
    except Exception as error:
        reason = str(error) if isinstance(error, SafechainError) else repr(error)
        observer.say(f"{name} failed, the sweep goes on: {reason}")
        return SweptModel(name, name, "failed", reason)
    return SweptModel(name, name, "done", None, done.errors)


def _earlier(folder: Folder) -> dict[str, SweptModel]:
    if not folder.exists(SWEEP_FILE):
        return {}
    try:
        tree: dict[str, Any] = json.loads(folder.read_text(SWEEP_FILE))
        return {model["model"]: SweptModel(**model) for model in tree["models"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}/{SWEEP_FILE} is no sweep's: {error!r}. Give another --output.") from error


def _write(folder: Folder, models: dict[str, SweptModel]) -> None:
    tree = {"models": [asdict(model) for model in models.values()]}
    folder.write_text(SWEEP_FILE, json.dumps(tree, indent=2) + "\n")


def _metrics(folder: Folder, models: dict[str, SweptModel]) -> dict[str, RunMetrics]:
    runs = {model.folder: folder / model.folder for model in models.values()}
    return {name: read_metrics(run.uri) for name, run in runs.items() if run.exists("metrics.json")}
