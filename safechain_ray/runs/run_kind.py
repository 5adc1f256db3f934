"""What a run.json is about: a run of a model, its benchmarks, a judge study, or two runs compared by preference."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import Folder

Kind = Literal["run", "benchmark", "judge study", "preferences"]


def kind_of(run: Mapping[str, Any]) -> Kind:
    """By what its identity is made of."""
    identity = run["identity"]
    if "run_a" in identity:
        return "preferences"
    if "benchmarks" in identity:
        return "benchmark"
    return "judge study" if "labelled" in identity else "run"


def kind_in(folder: Folder) -> Kind | None:
    """What the run.json of `folder` is about; None without one. Raises InputError for one that is no run's."""
    run = RunFolder(folder).read_run() if folder.exists("run.json") else None
    return None if run is None else kind_of(run)


def subject_of(run: Mapping[str, Any]) -> str:
    """The model of a run, the data of a study, both models of a comparison."""
    identity = run["identity"]
    match kind_of(run):
        case "preferences":
            return f"{identity['run_a']['model']['name']} or {identity['run_b']['model']['name']}"
        case "judge study":
            return str(run["data"]["name"])
        case "run" | "benchmark":
            return str(identity["model"]["name"])


def rows_of(run: Mapping[str, Any]) -> int | None:
    """How many rows there will be; None in records that do not tell."""
    total: int | None = run.get("rows", run.get("pairs"))
    return total


def own_attempts(run: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The attempts of the command that a run belongs to, without those of `judge`."""
    return [each for each in run.get("tries", ()) if each.get("command") is None]
