"""The files of a training set: its rows as Parquet in the order of the choice, whatever their number; its record.

What others are told of how a training set was made: all that its rows come from, and not where the work was done.

A built training set put on the Hugging Face hub: its card, its record and its rows, not the run behind them.

A training set that `build-dataset` left: what its record says; from a store, its files while they are read.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from safechain_ray import __version__
from safechain_ray.config import TrainingSetConfig
from safechain_ray.curation.selection import ROWS_SCHEMA, Chosen, RowFormat
from safechain_ray.datasets.files import has_known_suffix
from safechain_ray.datasets.training_sets import TrainingSet
from safechain_ray.errors import InputError, StorageError
from safechain_ray.runs.output import read_identified
from safechain_ray.runs.record import git_revision
from safechain_ray.runs.stored import Identified
from safechain_ray.storage import Folder, open_folder, redact
from safechain_ray.types import filter_by_ids

RECORD = "dataset.json"

ROWS_A_FILE = 10_000

FIX = (
    "Give another --output, or the config that the folder was made with. With --run another data set is chosen from "
    "the same responses."
)


class DatasetRecord:
    """The dataset.json of one folder: whose it is from the start, and what it came to at the end."""

    def __init__(self, folder: Folder, content: dict[str, Any]) -> None:
        self._folder = folder
        self._content = content

    @classmethod
    def opened(cls, folder: Folder, identity: dict[str, Any], config: dict[str, Any]) -> "DatasetRecord":
        """The folder's record, or a new one. Raises RunConflictError for a folder of another identity."""
        read_identified(folder, RECORD, Identified, identity, "data set", FIX)
        made_by = {"safechain_ray": __version__, "git_revision": git_revision()}
        record = cls(folder, {"identity": identity, "config": config, **made_by})
        record._write()
        return record

    def finished(self, facts: dict[str, Any]) -> None:
        """The rows are written: what they are."""
        self._content |= {"finished": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
        self._write()

    def _write(self) -> None:
        self._folder.write_text(RECORD, json.dumps(self._content, indent=2) + "\n")


def write_rows(samples: Iterable[pa.Table], chosen: Sequence[Chosen], rows: RowFormat, data: Folder) -> list[str]:
    """Write the chosen of the `samples` into train-*.parquet of `data`, in their order; gives the files' names.

    A file's rows are in memory at a time, and what comes from the samples waits in local files meanwhile. Files of an
    earlier writing are deleted.
    """
    files = max(1, -(-len(chosen) // ROWS_A_FILE))
    place = {each.sample_id: number for number, each in enumerate(chosen)}
    by_id = {each.sample_id: each for each in chosen}
    names = [f"train-{number:05}-of-{files:05}.parquet" for number in range(files)]
    with TemporaryDirectory(prefix="safechain-ray-rows-") as spool:
        paths = [Path(spool) / name for name in names]
        with ExitStack() as stack:
            sinks = [stack.enter_context(pa.ipc.new_stream(str(path), ROWS_SCHEMA)) for path in paths]
            for table in samples:
                table = rows.rows(filter_by_ids(table, place.keys() & set(table["sample_id"].to_pylist())), by_id)
                targets = [place[sample_id] // ROWS_A_FILE for sample_id in table["sample_id"].to_pylist()]
                for target in sorted(set(targets)):
                    sinks[target].write_table(table.filter(pa.array([each == target for each in targets])))
        for path in paths:
            with pa.ipc.open_stream(str(path)) as source:
                table = source.read_all()
            order = pa.array([place[sample_id] for sample_id in table["sample_id"].to_pylist()], pa.int64())
            data.write_parquet(path.name, table.take(pc.sort_indices(order)))
    for stale in set(data.list_files(".parquet")) - set(names):
        data.delete(stale)
    return names


OF_THE_PLACE = ("output", "run", "resources", "push_to_hub")

"""Keys of the config that change no row: folders, the cluster and its size."""

ENDPOINT = "base_url"

"""of a model or a judge behind an API, which may be a server of one's own. Which model answered there is told."""


def published_config(config: dict[str, Any]) -> dict[str, Any]:
    """A build's config without the keys that say where."""
    kept: dict[str, Any] = _without_endpoints({key: each for key, each in config.items() if key not in OF_THE_PLACE})
    return kept


def published_record(record: dict[str, Any]) -> dict[str, Any]:
    """The content of dataset.json without the keys that say where."""
    kept: dict[str, Any] = _without_endpoints(record | {"config": published_config(record["config"])})
    return kept


def _without_endpoints(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_endpoints(each) for key, each in tree.items() if key != ENDPOINT}
    if isinstance(tree, list):
        return [_without_endpoints(each) for each in tree]
    return tree


CARD = "README.md"


def check_token() -> None:
    """Raises InputError where nobody is logged in to the hub; nothing is asked of it."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise InputError("--push-to-hub: there is no token. Set HF_TOKEN, or log in with `hf auth login`.")


def push_dataset(folder: Folder, repository: str) -> str:
    """Upload the data set in `folder` as one commit to a data set of the hub, which is made private where it is new.

    Rows of an earlier upload are replaced. The record goes without what says where the set was made. Gives its address.
    Raises StorageError with what the hub said.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    with TemporaryDirectory(prefix="safechain-ray-push-") as place:
        for file in folder.list_facts():
            if file.name == CARD:
                folder.fetch(file, Path(place, CARD))
        record = published_record(json.loads(folder.read_text(RECORD)))
        Path(place, RECORD).write_text(json.dumps(record, indent=2) + "\n")
        rows = folder / "data"
        for file in rows.list_facts():
            target = Path(place, "data", file.name)
            target.parent.mkdir(exist_ok=True)
            rows.fetch(file, target)
        try:
            api = HfApi()
            url = api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            api.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=place,
                delete_patterns="data/*",
                commit_message="Rows, card and record of a data set built by safechain-ray",
            )
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = redact(str(error)).strip().splitlines() or [type(error).__name__]
            raise StorageError(
                f"Can't push {folder} to {repository}: {reason[0]}. The data set is whole in its folder; the same "
                "command pushes it again."
            ) from error
    return str(url)


DATA = "data"


def is_stored_set(name: str) -> bool:
    """Whether it is the URI of a folder, and not of a file."""
    return "://" in name and not has_known_suffix(name)


def as_built(config: TrainingSetConfig) -> TrainingSetConfig:
    """The config with what the folder's own record says of it: a control has no thoughts. What a person says wins."""
    is_folder = is_stored_set(config.name) or Path(config.name).expanduser().is_dir()
    if config.has_thoughts is not None or not is_folder or not _is_control(open_folder(config.name)):
        return config
    return config.model_copy(update={"has_thoughts": False})


def _is_control(folder: Folder) -> bool:
    """False too where there is no record, or one of something else than `build-dataset`."""
    if not folder.exists(RECORD):
        return False
    try:
        return bool(json.loads(folder.read_text(RECORD))["identity"]["selection"]["answers_only"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


@contextmanager
def fetched_set(config: TrainingSetConfig) -> Iterator[TrainingSetConfig]:
    """The config with a local folder in place of the URI. Raises InputError where no data set lies there."""
    place = open_folder(config.name) / DATA
    files = [file for file in place.list_facts() if file.name.endswith(".parquet")]
    if not files:
        raise InputError(
            f"No training set at {redact(config.name)}: there is no Parquet file in {DATA}/ below it. Name the folder "
            "that build-dataset left, or a file."
        )
    with TemporaryDirectory(prefix="safechain-ray-set-") as folder:
        target = Path(folder, DATA)
        target.mkdir()
        for file in files:
            place.fetch(file, target / file.name)
        yield config.model_copy(update={"name": folder})


def named_after(source: TrainingSet, config: TrainingSetConfig) -> TrainingSet:
    """The set as a person knows it: by its URI, and not by where it was fetched to."""
    return replace(source, source=redact(config.name))
