"""The folder of a run: its record, its rows and its figures, each read with a check that names the damaged file."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from safechain_ray.config.commands import PIECE_COUNTS
from safechain_ray.errors import InputError, RunConflictError, StorageError, StoreUnavailableError
from safechain_ray.metrics.counts import COUNTED_COLUMNS
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.identity import explained
from safechain_ray.runs.run_file import RESTORE_RUN, RUN_FILE, Kind, RunFile, read_run_file
from safechain_ray.storage import FileFacts, Folder, open_folder, read_ahead, read_record
from safechain_ray.storage.retry import TORN_FIX
from safechain_ray.types import PIECES_SCHEMA, VERDICTS_SCHEMA, Sampling, conformed
from safechain_ray.types.tables import ADDED_COLUMNS, GRADED_SCHEMA

Figures = TypeVar("Figures", bound=BaseModel)

ABSENT = "(absent)"

PARALLEL_SIZES = {"tensor_parallel_size", "pipeline_parallel_size"}

WEIGHTS = "weights"
"""Key of an identity with the fingerprint of the model's weights (`identity.weights_fingerprint`)."""

LEVELS_OF_RUN = 3
"""Levels of folders below a run: `verdicts/JUDGE/FILE`."""

MOST_SUBFOLDERS = 20
"""Most subfolders of a wrong folder that are looked into for a run."""

METRICS_FIX = "run the run's own command again: it measures the samples anew."

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

REDO = "Fix: {command}: it moves the file to _broken/ beside it and does its rows again."

SAMPLES_FIX = REDO.format(command="run the run's own command again")

VERDICTS_FIX = REDO.format(command="run `safechain-ray judge RUN --judge {judge}` with the same --part as before")

PIECES_FIX = REDO.format(command="run `safechain-ray judge RUN --judge {judge} --pieces N` with the same N as before")


RESULTS = ("stages", "preferences", "verdicts", "pieces", "progress", "metrics.json")
"""Files and folders, beside `samples`, that only an attempt with results leaves."""


@dataclass(frozen=True)
class RunFolder:
    """The folder `<output>/<run>/` on any file system."""

    folder: Folder

    @property
    def samples(self) -> Folder:
        return self.folder / "samples"

    def stage(self, number: int) -> Folder:
        """Samples between two stages; deleted when the run is complete."""
        return self.folder / "stages" / str(number)

    @property
    def has_stages(self) -> bool:
        return bool(self.stage(0).list_files(".parquet"))

    @property
    def has_results(self) -> bool:
        """Whether an attempt has written anything but its record: rows, verdicts, stages or checkpoints."""
        return bool(self.samples.list_files(".parquet")) or any(map(self.folder.exists, RESULTS))

    def read_run(self) -> RunFile | None:
        """run.json, or None for a new folder. Raises InputError where the folder holds something else."""
        if not self.folder.exists(RUN_FILE):
            if self.folder.exists("samples") and self.samples.list_files(".parquet"):
                raise InputError(f"{self.folder} holds samples but no run.json. Fix: {RESTORE_RUN}")
            return None
        return read_run_file(self.folder)

    def write_figures(self, file: str, figures: BaseModel) -> None:
        self.folder.write_text(file, figures.model_dump_json(indent=2) + "\n")

    def write_card(self) -> None:
        """Write README.md, by which `datasets.load_dataset(FOLDER)` reads the samples and no other Parquet file."""
        self.folder.write_text("README.md", CARD)

    def check_same(self, stored: RunFile, identity: dict[str, Any], config: Mapping[str, Any] | None = None) -> None:
        """Raises RunConflictError, with the difference, where the folder belongs to a run of another identity.

        The identity has only hashes of rows, so that the keys of `config` that chose other rows are listed before.
        """
        found = differences(stored.identity.tree, identity)
        if not found:
            return
        if any(HASHES.search(line) for line in found):
            configs = (stored.config, config or {})
            there, here = ({key: each[key] for key in ROW_KEYS & each.keys()} for each in configs)
            found = [*differences(there, here), *(HASHES.sub("other content", line) for line in found)]
        raise RunConflictError(
            f"{self.folder} holds another run. What differs (there -> here):\n{explained(found)}\n"
            "Fix: give another --output, or the config that the folder was made with."
        )

    def counted_samples(self, columns: Sequence[str] = COUNTED_COLUMNS) -> Iterator[pa.Table]:
        """The samples, file by file, with these columns: those that metrics need."""
        return _read_files(self.samples, partial(read_samples, self.samples, columns=columns))

    def samples_by_file(self, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        """The samples with these columns, and the name of the file of each table."""
        files = self.samples.list_facts(".parquet")
        read = partial(read_samples, self.samples, columns=columns)
        return zip((file.name for file in files), _read_ahead(files, read), strict=True)

    def prompt_texts(self) -> dict[tuple[str, str], str]:
        """The text of each prompt, by data set and prompt_id."""
        columns = ["dataset", "prompt_id", "prompt"]
        tables = (table.group_by(columns).aggregate([]) for table in self.counted_samples(columns))
        rows = (zip(*(table[name].to_pylist() for name in columns), strict=True) for table in tables)
        return {(dataset, prompt_id): prompt for row in rows for dataset, prompt_id, prompt in row}

    def check_samples(self) -> None:
        """Raises InputError for a run without samples, whose figures can't be computed again."""
        if not self.samples.list_files(".parquet"):
            raise InputError(
                f"{self.folder} has no samples: they were deleted, or left out by `push --include figures`. Fix: name "
                "the original run."
            )

    def sets_without_prompts(self) -> list[str]:
        """Data sets with samples but without the texts of their prompts, which `push` left out. Raises StorageError."""
        found: dict[str, bool] = {}
        for table in self.counted_samples(["dataset", "prompt"]):
            with_text = set(pc.unique(table.filter(pc.not_equal(table["prompt"], ""))["dataset"]).to_pylist())
            for name in pc.unique(table["dataset"]).to_pylist():
                found[name] = found.get(name, False) or name in with_text
        return [name for name, has_text in found.items() if not has_text]

    def added_verdicts(self, judges: Collection[str]) -> Iterator[pa.Table]:
        """The verdicts of these judges that were added after the run, file by file.

        An interrupted `judge` command leaves verdicts of a judge that is not a judge of the run yet.
        """
        folder = self.folder / "verdicts"
        found = folder.list_folders() if self.folder.exists("verdicts") else []
        for judge in (name for name in found if name in judges):
            yield from map(partial(read_verdicts, folder / judge), (folder / judge).list_files(".parquet"))

    def verdicts(self, judge: str) -> Folder:
        """Verdicts of a judge that was added after the run."""
        return self.folder / "verdicts" / judge

    def prefix_verdicts(self, judge: str) -> Folder:
        """Verdicts of a judge on prefixes of the thoughts. No safety metric counts them."""
        return self.folder / "pieces" / judge

    def judged_prefixes(self, judges: Collection[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        """The verdicts of these judges on prefixes, file by file, with these columns of `PIECES_SCHEMA`."""
        folder = self.folder / "pieces"
        for judge in (name for name in folder.list_folders() if name in judges):
            yield from _read_files(folder / judge, partial(read_prefix_verdicts, folder / judge, columns=columns))

    def delete_stages(self) -> None:
        if self.folder.exists("stages"):
            self.folder.delete_folder("stages")


def read_metrics(uri: str) -> RunMetrics:
    """The metrics.json of a run. Raises InputError where there is none, or one that does not parse."""
    return read_figures(open_folder(uri), "metrics.json", RunMetrics, "file of a run's metrics")


def read_figures(folder: Folder, file: str, model: type[Figures], what: str) -> Figures:
    """The figures of a finished run in `file`. Raises InputError where there are none, or they don't parse."""
    if not folder.exists(file):
        if not folder.exists(RUN_FILE):
            raise no_run(folder)
        raise InputError(f"The run in {folder} has not ended: it has no {file}. Fix: rerun its command to resume.")
    return read_record(folder, file, model, what, METRICS_FIX)


def no_run(folder: Folder, what: str = "run and no sweep") -> InputError:
    """The error for a folder without a run.json: absent, a part of a run, or a parent of runs. `what` is missing."""
    if not folder.exists():
        return InputError(f"There is no folder {folder}. Fix: check the path.")
    path = Path(folder.path)
    above = [each for each in path.parents[:LEVELS_OF_RUN] if (each / RUN_FILE).is_file()] if folder.is_local else []
    if above:
        return InputError(f"{folder} is a part of a run. Fix: give {above[0]}.")
    if folder.is_local and not path.is_dir():
        return InputError(f"{folder} is a file, and no folder of a run. Fix: give the folder that --output named.")
    if (folder / "samples").list_files(".parquet"):
        return InputError(f"{folder} holds samples but no run.json. Fix: {RESTORE_RUN}")
    inside = [name for name in folder.list_folders()[:MOST_SUBFOLDERS] if (folder / name).exists(RUN_FILE)]
    if inside:
        return InputError(
            f"{folder} holds no {what}, but folders of runs. Fix: give one, such as {folder / inside[0]}."
        )
    return InputError(f"{folder} holds no {what}. Fix: give the folder that --output named.")


def kind_in(folder: Folder) -> Kind | None:
    """The kind of the run in `folder`; None without a run.json. Raises InputError for a file that is no record."""
    run = RunFolder(folder).read_run() if folder.exists(RUN_FILE) else None
    return None if run is None else run.kind


def read_samples(folder: Folder, name: str, columns: Sequence[str]) -> pa.Table:
    """These columns of a file of samples, graded ones or not. Raises StorageError."""
    return _read(folder, name, pa.schema([GRADED_SCHEMA.field(column) for column in columns]), SAMPLES_FIX)


def read_verdicts(folder: Folder, name: str) -> pa.Table:
    """A file of verdicts that were added to a run. Raises StorageError."""
    return _read(folder, name, VERDICTS_SCHEMA, VERDICTS_FIX.format(judge=_judge_of(folder)))


def read_prefix_verdicts(folder: Folder, name: str, columns: Sequence[str]) -> pa.Table:
    """These columns of a file of verdicts on prefixes of thoughts. Raises StorageError."""
    fix = PIECES_FIX.format(judge=_judge_of(folder))
    table = _read(folder, name, pa.schema([PIECES_SCHEMA.field(column) for column in columns]), fix)
    if "pieces" in columns and not all(count in PIECE_COUNTS for count in pc.unique(table["pieces"]).to_pylist()):
        raise StorageError(
            f"{folder}/{name} holds thoughts in fewer than {PIECE_COUNTS.start} or more than {PIECE_COUNTS.stop - 1} "
            f"pieces. {fix}"
        )
    return table


def differences(there: Any, here: Any, key: str = "") -> list[str]:
    """The differences of two JSON trees, one line each: `settings.0.samples: 5 -> 3`.

    Where two lists have other items, the items are matched by name: `settings[quickstart default].samples: 5 -> 3`.

    The fingerprint of weights counts if both trees have one: runs of earlier versions noted none. Parallel sizes do not
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
    if isinstance(there, list) and isinstance(here, list) and [*map(_short_name, there)] == [*map(_short_name, here)]:
        pairs = enumerate(zip(there, here, strict=True))
        return [line for index, (old, new) in pairs for line in differences(old, new, f"{key}{index}.")]
    if isinstance(there, list) and isinstance(here, list) and any(isinstance(item, dict) for item in [*there, *here]):
        return [f"{key.rstrip('.')}: {_named(there)} -> {_named(here)}", *_of_items(there, here, key.rstrip("."))]
    return [f"{key.rstrip('.')}: {_brief(there)} -> {_brief(here)}"]


def _of_items(there: list[Any], here: list[Any], key: str) -> Iterator[str]:
    """The differences of the items that both lists have by name, then the items that only one of them has."""
    old, new = _by_name(there), _by_name(here)
    common = [name for name in old if name in new]
    for name in common:
        yield from differences(old[name], new[name], f"{key}[{name}].")
    there, here = _without(there, [old[name] for name in common]), _without(here, [new[name] for name in common])
    for place, items in (("there", _without(there, here)), ("here", _without(here, there))):
        if items:
            yield f"  only {place}: {_named(items)}"


def _by_name(items: list[Any]) -> dict[str, Any]:
    """The items by the name that a user knows them by. Items with the same name are left out."""
    names = [_short_name(item) for item in items]
    return {name: item for name, item in zip(names, items, strict=True) if name and names.count(name) == 1}


def _short_name(item: Any) -> str:
    """The name of a judge; data set and strategy of a setting; "" for any other item."""
    match item:
        case {"name": str(name)}:
            return name
        case {"dataset": str(dataset), "strategy": {"name": str(strategy), **others}}:
            options = others.get("options")
            named = options.items() if isinstance(options, dict) else ()
            return " ".join([dataset, strategy, *(f"{key}={value}" for key, value in named)])
    return ""


def _without(items: list[Any], others: list[Any]) -> list[Any]:
    return [item for item in items if item not in others]


def _named(items: list[Any]) -> str:
    """The items by their names, for example judges; their number where that would be too long."""
    text = ", ".join(map(_name, items)) or "none"
    return text if len(text) <= LONGEST_LIST else f"{len(items)} items"


def _name(item: Any) -> str:
    """The name of a judge; data set, strategy, K and the set sampling of a setting; any other item as JSON."""
    match item:
        case {"sampling": {"temperature": temperature, **others}, "samples": samples} if name := _short_name(item):
            defaults = Sampling().model_dump()
            drawn = {"temp": temperature} | {
                key: each for key, each in others.items() if each != defaults.get(str(key))
            }
            return " ".join([name, *(f"{key}={value}" for key, value in drawn.items()), f"K={samples}"])
    return _short_name(item) or _brief(item)


LONGEST_LIST = 300
"""Characters of a list in an error."""


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _read(folder: Folder, name: str, schema: pa.Schema, fix: str) -> pa.Table:
    try:
        if not set(ADDED_COLUMNS).intersection(schema.names):
            return conformed(folder.read_parquet(name, schema.names), schema)
        table = folder.read_parquet(name)  # an earlier version did not write all columns
        return conformed(table.select([each for each in schema.names if each in table.schema.names]), schema)
    except pa.ArrowException as error:
        raise StorageError(f"{folder}/{name} holds no rows of this kind: {error}. {fix}") from error
    except StoreUnavailableError:
        raise
    except StorageError as error:
        raise StorageError(str(error).replace(f"Fix: {TORN_FIX}.", fix)) from error


def _judge_of(folder: Folder) -> str:
    """The judge whose verdicts the folder `RUN/verdicts/JUDGE` or `RUN/pieces/JUDGE` has."""
    return PurePosixPath(folder.path).name


def _read_files(folder: Folder, read: Callable[[str], pa.Table]) -> Iterator[pa.Table]:
    return _read_ahead(folder.list_facts(".parquet"), read)


def _read_ahead(files: Sequence[FileFacts], read: Callable[[str], pa.Table]) -> Iterator[pa.Table]:
    return read_ahead(files, read, memory=lambda table: table.nbytes)
