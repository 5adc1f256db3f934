"""A run's folder: who it belongs to, what is finished in it, and how it is kept free of broken and repeated rows."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.metrics.counts import COUNTED_COLUMNS
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.pipelines.runs.changed_results import explained
from safechain_ray.schema import SAMPLES_SCHEMA, only, short_hash
from safechain_ray.schema.plain_columns import plain_columns
from safechain_ray.storage import Folder, open_folder

Figures = TypeVar("Figures", bound=BaseModel)

ABSENT = "(absent)"

WEIGHTS = "weights"
"""Where an identity has the fingerprint of a model's weights (`weights_fingerprint.py`)."""

READERS = 16
"""Files read at the same time: an object store answers slowly, but many at once."""

READ_AHEAD = 4 * READERS
"""Files held at the same time while they are looked at one by one."""

TableCounts = Callable[[pa.Table], dict[str, int]]

EachRow = Callable[[pa.Table], list[bool]]

FINISHED, UNFINISHED, FAILED = range(3)
"""How far a row is: of repeated ones the first of these stays."""


def nothing(table: pa.Table) -> dict[str, int]:
    """Counts nothing."""
    return {}


def none(table: pa.Table) -> list[bool]:
    """No row."""
    return [False] * table.num_rows


@dataclass(frozen=True, slots=True)
class Inventory:
    """What stands in a folder of samples after it was put in order."""

    finished: dict[str, str]
    """sample_id -> the file that holds it."""
    retried_errors: int = 0
    repeated: int = 0
    broken_files: tuple[str, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    """Sums over the finished rows, where they were asked for."""
    unfinished: dict[str, str] = field(default_factory=dict)
    """Those of `finished` that lack something still, where that was asked for."""


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


def put_in_order(
    folder: Folder,
    *,
    retry_errors: bool,
    schema: pa.Schema = SAMPLES_SCHEMA,
    counts: TableCounts = nothing,
    unfinished: EachRow = none,
) -> Inventory:
    """Make every `sample_id` stand once in the Parquet files of `folder`, which are of `schema`, and say which do.

    A file that can't be read (torn by a crash) is moved to `_broken/`, which readers pass over; repeated rows go, an
    error before a finished one; with `retry_errors` rows with outcome `error` go too, to be done again. Rows are
    dropped by writing the file's rest under a new name before the old one is deleted, so that a crash leaves a repeated
    row, never a lost one. `counts` are taken of the finished rows, file by file. Rows that are `unfinished` stay, and
    are named, but give way to finished ones of the same id.
    """
    names = folder.list_files(".parquet")
    with ThreadPoolExecutor(READERS) as readers:
        read = partial(_read_ids, folder, schema, counts, unfinished)
        files = dict(zip(names, readers.map(read, names), strict=True))
    broken = tuple(name for name, file in files.items() if file is None)
    for name in broken:
        folder.move(name, f"_broken/{name}")
    rows = [
        (state, name, sample_id)
        for name, file in files.items()
        if file is not None
        for sample_id, state in zip(file.states["sample_id"].to_pylist(), file.states["state"].to_pylist(), strict=True)
    ]
    finished: dict[str, str] = {}
    lacking: list[str] = []
    rewritten: set[str] = set()
    retried = repeated = 0
    for state, name, sample_id in sorted(rows):
        if sample_id in finished:
            repeated += 1
        elif state == FAILED and retry_errors:
            retried += 1
        else:
            finished[sample_id] = name
            lacking += [sample_id] if state == UNFINISHED else []
            continue
        rewritten.add(name)
    counted = [file.counts for name, file in files.items() if file is not None and name not in rewritten]
    for name in rewritten:
        kept = {sample_id for sample_id, file_name in finished.items() if file_name == name}
        new_name, kept_counts = _keep_only(folder, name, kept, counts)
        finished |= dict.fromkeys(kept, new_name)
        counted.append(kept_counts)
    counted_rows = sum(map(Counter, counted), Counter())
    return Inventory(finished, retried, repeated, broken, counted_rows, {each: finished[each] for each in lacking})


@dataclass(frozen=True, slots=True)
class _File:
    """What is known of one whole file: the columns sample_id and state, and what was counted in it."""

    states: pa.Table
    counts: dict[str, int]


def _read_ids(folder: Folder, schema: pa.Schema, counts: TableCounts, unfinished: EachRow, name: str) -> _File | None:
    """The ids of one file and their states, None for a broken one; every column is read, as any of them may be torn.

    Raises StorageError where the bytes can't be had: a store that does not answer does not make a file broken.
    """
    data = folder.read_bytes(name)
    try:
        table = plain_columns(pq.read_table(pa.BufferReader(data), page_checksum_verification=True))
        whole = table.schema.names == schema.names
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return None
    if not whole:
        return None
    rows = zip(table["outcome"].to_pylist(), unfinished(table), strict=True)
    states = [FAILED if outcome == "error" else UNFINISHED if lacks else FINISHED for outcome, lacks in rows]
    known = {"sample_id": table["sample_id"], "state": pa.array(states, pa.int8())}
    return _File(pa.table(known), counts(table))


def _keep_only(folder: Folder, name: str, kept: set[str], counts: TableCounts) -> tuple[str, dict[str, int]]:
    """Write the rows `kept` of a file under a new name and delete the old one; gives the new name and its counts."""
    new_name = f"part-{short_hash(name, *sorted(kept))}.parquet"
    counted: dict[str, int] = {}
    if kept:
        rest = only(folder.read_parquet(name), kept)
        folder.write_parquet(new_name, rest)
        counted = counts(rest)
    folder.delete(name)
    return new_name, counted


def read_metrics(uri: str) -> RunMetrics:
    """The metrics.json of a run. Raises InputError where there is none, or one that does not parse."""
    return read_figures(open_folder(uri), "metrics.json", RunMetrics)


def read_figures(folder: Folder, file: str, model: type[Figures]) -> Figures:
    """The figures that a finished run left in `file`. Raises InputError where there are none, or they don't parse."""
    if not folder.exists(file):
        raise InputError(f"{folder} has no {file}: no run, or one that has not ended. Its command continues it.")
    try:
        return model.model_validate_json(folder.read_text(file))
    except ValueError as error:  # pydantic's ValidationError and UnicodeDecodeError are of this kind
        raise InputError(f"{folder}/{file} does not read as figures of a run: {error}") from error
