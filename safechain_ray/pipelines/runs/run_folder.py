"""A run's folder: who it belongs to, and where its records and its rows are."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.metrics.counts import COUNTED_COLUMNS
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.pipelines.runs.changed_results import explained
from safechain_ray.storage import Folder, open_folder

ABSENT = "(absent)"

WEIGHTS = "weights"
"""Where an identity has the fingerprint of a model's weights (`weights_fingerprint.py`)."""

READERS = 16
"""Files read at the same time: an object store answers slowly, but many at once."""

READ_AHEAD = 4 * READERS
"""Files held at the same time while they are looked at one by one."""


@dataclass(frozen=True)
class RunFolder:
    """`<output>/<run>/`, as DESIGN.md draws it, on any file system."""

    folder: Folder

    @property
    def samples(self) -> Folder:
        return self.folder / "samples"

    def stage(self, number: int) -> Folder:
        """Samples on their way from one stage to the next; gone when the run is complete."""
        return self.folder / "stages" / str(number)

    @property
    def has_stages(self) -> bool:
        return bool(self.stage(0).list_files(".parquet"))

    def read_run(self) -> dict[str, Any] | None:
        """run.json, or None for a new folder. Raises InputError where the folder holds something else."""
        if not self.folder.exists("run.json"):
            if self.folder.exists("samples") and self.samples.list_files(".parquet"):
                raise InputError(
                    f"{self.folder} holds samples but no run.json: it is no run's folder, or a damaged one."
                )
            return None
        try:
            run: dict[str, Any] = json.loads(self.folder.read_text("run.json"))
        except ValueError as error:
            raise InputError(f"{self.folder}/run.json is no valid JSON ({error}).") from error
        if not isinstance(run, dict) or "identity" not in run:
            raise InputError(f"{self.folder}/run.json is no run's: it has no identity. Give another --output.")
        return run

    def write_run(self, run: dict[str, Any]) -> None:
        """Write run.json with the time of this writing: by it a reader knows a driver that has died."""
        stamped = run | {"updated": datetime.now(UTC).isoformat(timespec="seconds")}
        self.folder.write_text("run.json", json.dumps(stamped, indent=2, default=str) + "\n")

    def check_same(self, stored: dict[str, Any], identity: dict[str, Any]) -> None:
        """Raises RunConflictError, with the difference, where the folder belongs to a run of another identity."""
        found = differences(stored["identity"], identity)
        if not found:
            return
        raise RunConflictError(
            f"{self.folder} holds another run. What differs (there -> here):\n{explained(found)}\n"
            "Give another --output, or the config that the folder was made with."
        )

    def counted_samples(self, columns: Sequence[str] = COUNTED_COLUMNS) -> Iterator[pa.Table]:
        """The samples, file by file, with these columns: those that metrics need."""
        return _read_files(self.samples, columns)

    def prompt_texts(self) -> dict[tuple[str, str], str]:
        """What each prompt asks, by data set and prompt_id."""
        columns = ["dataset", "prompt_id", "prompt"]
        with ThreadPoolExecutor(READERS) as readers:
            read = partial(self.samples.read_parquet, columns=columns)
            tables = [
                table.group_by(columns).aggregate([])
                for table in readers.map(read, self.samples.list_files(".parquet"))
            ]
        rows = (zip(*(table[name].to_pylist() for name in columns), strict=True) for table in tables)
        return {(dataset, prompt_id): prompt for row in rows for dataset, prompt_id, prompt in row}

    def added_verdicts(self) -> Iterator[pa.Table]:
        """The verdicts that were added after the run, file by file."""
        folder = self.folder / "verdicts"
        judges = folder.list_folders() if self.folder.exists("verdicts") else []
        for judge in judges:
            yield from map((folder / judge).read_parquet, (folder / judge).list_files(".parquet"))

    def verdicts(self, judge: str) -> Folder:
        """Verdicts of a judge that was added after the run."""
        return self.folder / "verdicts" / judge

    def pieces(self, judge: str) -> Folder:
        """Verdicts of a judge on thoughts in growing pieces. They stand apart: no safety metric counts them."""
        return self.folder / "pieces" / judge

    def judged_pieces(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The verdicts on growing pieces, file by file, with these columns of `PIECES_SCHEMA`."""
        folder = self.folder / "pieces"
        for judge in folder.list_folders():
            yield from _read_files(folder / judge, columns)

    def delete_stages(self) -> None:
        if self.folder.exists("stages"):
            self.folder.delete_folder("stages")


def _read_files(folder: Folder, columns: Sequence[str]) -> Iterator[pa.Table]:
    names, read = folder.list_files(".parquet"), partial(folder.read_parquet, columns=columns)
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(names), READ_AHEAD):
            yield from readers.map(read, names[start : start + READ_AHEAD])


def differences(there: Any, here: Any, key: str = "") -> list[str]:
    """Where two trees of JSON differ, one line each: `settings.0.samples: 5 -> 3`.

    The fingerprint of weights counts where both tell it: runs of earlier versions noted none.
    """
    if there == here:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [name for name in there | here if name != WEIGHTS or (name in there and name in here)]
        return [
            line
            for name in keys
            for line in differences(there.get(name, ABSENT), here.get(name, ABSENT), f"{key}{name}.")
        ]
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return [line for place, (old, new) in pairs for line in differences(old, new, f"{key}{place}.")]
    return [f"{key.rstrip('.')}: {_brief(there)} -> {_brief(here)}"]


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def read_metrics(uri: str) -> RunMetrics:
    """The metrics.json of a run. Raises InputError where there is none, or one that does not parse."""
    folder = open_folder(uri)
    if not folder.exists("metrics.json"):
        raise InputError(f"{folder} has no metrics.json: no run, or one that has not ended. Its command continues it.")
    try:
        return RunMetrics.model_validate_json(folder.read_text("metrics.json"))
    except ValueError as error:  # pydantic's ValidationError and UnicodeDecodeError are of this kind
        raise InputError(f"{folder}/metrics.json does not read as a run's metrics: {error}") from error
