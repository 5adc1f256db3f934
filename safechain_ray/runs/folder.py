"""A run's folder: who it belongs to, and where its records and its rows are."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel

from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.metrics.counts import COUNTED_COLUMNS
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.changed_results import explained
from safechain_ray.runs.stored_rows import read_pieces, read_samples, read_verdicts
from safechain_ray.runs.stored_run import RESTORE_RUN, RUN_FILE, read_stored_run
from safechain_ray.storage import Folder, open_folder, read_record

Figures = TypeVar("Figures", bound=BaseModel)

ABSENT = "(absent)"

PARALLEL_SIZES = {"tensor_parallel_size", "pipeline_parallel_size"}

WEIGHTS = "weights"
"""Where an identity has the fingerprint of a model's weights (`weights_fingerprint.py`)."""

METRICS_FIX = "run the run's own command again: it measures the samples anew."

READERS = 16
"""Files read at the same time: an object store answers slowly, but many at once."""

READ_AHEAD = 4 * READERS
"""Files held at the same time while they are looked at one by one."""


CARD = """---
configs:
- config_name: samples
  data_files: samples/*.parquet
  default: true
---
# A run of safechain_ray

`samples` has one row per sample, with its verdicts. `run.json` says what was run, `metrics.json` has the figures.

Responses of a model to harmful prompts can be harmful: treat this folder accordingly.
"""

HASHES = re.compile(r'"[0-9a-f]{16}" -> "[0-9a-f]{16}"')

ROW_KEYS = frozenset({"datasets", "data", "prompts", "benchmarks"})
"""Keys of configs that choose rows."""


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
        if not self.folder.exists(RUN_FILE):
            if self.folder.exists("samples") and self.samples.list_files(".parquet"):
                raise InputError(f"{self.folder} holds samples but no run.json. Fix: {RESTORE_RUN}")
            return None
        return read_stored_run(self.folder)

    def write_run(self, run: dict[str, Any]) -> None:
        """Write run.json with the time of this writing: by it a reader knows a driver that has died."""
        stamped = run | {"updated": datetime.now(UTC).isoformat(timespec="seconds")}
        self.folder.write_text(RUN_FILE, json.dumps(stamped, indent=2, default=str) + "\n")

    def write_card(self) -> None:
        """Write README.md, by which `datasets.load_dataset(FOLDER)` reads the samples and no other Parquet file."""
        self.folder.write_text("README.md", CARD)

    def check_same(
        self, stored: dict[str, Any], identity: dict[str, Any], config: Mapping[str, Any] | None = None
    ) -> None:
        """Raises RunConflictError, with the difference, where the folder belongs to a run of another identity.

        The identity has only hashes of rows, so the keys of `config` that chose other rows are given before them.
        """
        found = differences(stored["identity"], identity)
        if not found:
            return
        if any(HASHES.search(line) for line in found):
            configs = (stored.get("config") or {}, config or {})
            there, here = ({key: each[key] for key in ROW_KEYS & each.keys()} for each in configs)
            found = [*differences(there, here), *(HASHES.sub("other content", line) for line in found)]
        raise RunConflictError(
            f"{self.folder} holds another run. What differs (there -> here):\n{explained(found)}\n"
            "Give another --output, or the config that the folder was made with."
        )

    def counted_samples(self, columns: Sequence[str] = COUNTED_COLUMNS) -> Iterator[pa.Table]:
        """The samples, file by file, with these columns: those that metrics need."""
        return _read_files(self.samples, partial(read_samples, self.samples, columns=columns))

    def prompt_texts(self) -> dict[tuple[str, str], str]:
        """What each prompt asks, by data set and prompt_id."""
        columns = ["dataset", "prompt_id", "prompt"]
        with ThreadPoolExecutor(READERS) as readers:
            read = partial(read_samples, self.samples, columns=columns)
            tables = [
                table.group_by(columns).aggregate([])
                for table in readers.map(read, self.samples.list_files(".parquet"))
            ]
        rows = (zip(*(table[name].to_pylist() for name in columns), strict=True) for table in tables)
        return {(dataset, prompt_id): prompt for row in rows for dataset, prompt_id, prompt in row}

    def added_verdicts(self, judges: Collection[str]) -> Iterator[pa.Table]:
        """The verdicts of these judges that were added after the run, file by file.

        A `judge` command that was interrupted leaves verdicts of a judge that is none of the run yet.
        """
        folder = self.folder / "verdicts"
        found = folder.list_folders() if self.folder.exists("verdicts") else []
        for judge in (name for name in found if name in judges):
            yield from map(partial(read_verdicts, folder / judge), (folder / judge).list_files(".parquet"))

    def verdicts(self, judge: str) -> Folder:
        """Verdicts of a judge that was added after the run."""
        return self.folder / "verdicts" / judge

    def pieces(self, judge: str) -> Folder:
        """Verdicts of a judge on thoughts in growing pieces. They stand apart: no safety metric counts them."""
        return self.folder / "pieces" / judge

    def judged_pieces(self, judges: Collection[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        """The verdicts of these judges on growing pieces, file by file, with these columns of `PIECES_SCHEMA`."""
        folder = self.folder / "pieces"
        for judge in (name for name in folder.list_folders() if name in judges):
            yield from _read_files(folder / judge, partial(read_pieces, folder / judge, columns=columns))

    def delete_stages(self) -> None:
        if self.folder.exists("stages"):
            self.folder.delete_folder("stages")


def _read_files(folder: Folder, read: Callable[[str], pa.Table]) -> Iterator[pa.Table]:
    names = folder.list_files(".parquet")
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(names), READ_AHEAD):
            yield from readers.map(read, names[start : start + READ_AHEAD])


def differences(there: Any, here: Any, key: str = "") -> list[str]:
    """Where two trees of JSON differ, one line each: `settings.0.samples: 5 -> 3`.

    The fingerprint of weights counts where both tell it: runs of earlier versions noted none. Parallel sizes do not
    count: they change results in the last bits only, and a run may be resumed on other GPUs.
    """
    if there == here:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [
            name
            for name in there | here
            if name not in PARALLEL_SIZES and (name != WEIGHTS or (name in there and name in here))
        ]
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
    return read_figures(open_folder(uri), "metrics.json", RunMetrics, "file of a run's metrics")


def read_figures(folder: Folder, file: str, model: type[Figures], what: str) -> Figures:
    """The figures that a finished run left in `file`. Raises InputError where there are none, or they don't parse."""
    if not folder.exists(file):
        raise InputError(
            f"{folder} has no {file}. Fix: check the path; if the run has not ended, rerun its command to resume."
        )
    return read_record(folder, file, model, what, METRICS_FIX)
