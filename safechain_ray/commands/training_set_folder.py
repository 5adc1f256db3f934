"""The folder of a built training set: its rows and record, its upload to the Hugging Face hub, and its download.

Published records have all sources of the rows, but no folders and endpoints of the machine that built them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from safechain_ray.storage import Folder, open_folder, redact
from safechain_ray.storage.records import Identified
from safechain_ray.types import filter_by_ids

RECORD = "dataset.json"

ROWS_A_FILE = 10_000

FIX = (
    "With --run, another data set is selected from the same responses. "
    "Fix: give another --output, or the config that the folder was made with."
)


class DatasetRecord:
    """The dataset.json of one folder: its identity from the start, and the facts about its rows at the end."""

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
        """Record the facts about the written rows."""
        self._content |= {"finished": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
        self._write()

    def _write(self) -> None:
        self._folder.write_text(RECORD, json.dumps(self._content, indent=2) + "\n")


def write_rows(samples: Iterable[pa.Table], chosen: Sequence[Chosen], rows: RowFormat, data: Folder) -> list[str]:
    """Write the chosen `samples` into train-*.parquet of `data`, in that order. Returns the file names.

    Rows are spooled to local files, so that only one file's rows are in memory. Files of earlier attempts are deleted.
    """
    files = max(1, -(-len(chosen) // ROWS_A_FILE))
    position = {each.sample_id: number for number, each in enumerate(chosen)}
    by_id = {each.sample_id: each for each in chosen}
    names = [f"train-{number:05}-of-{files:05}.parquet" for number in range(files)]
    with TemporaryDirectory(prefix="safechain-ray-rows-") as spool:
        paths = [Path(spool) / name for name in names]
        with ExitStack() as stack:
            sinks = [stack.enter_context(pa.ipc.new_stream(str(path), ROWS_SCHEMA)) for path in paths]
            for table in samples:
                table = rows.rows(filter_by_ids(table, position.keys() & set(table["sample_id"].to_pylist())), by_id)
                targets = [position[sample_id] // ROWS_A_FILE for sample_id in table["sample_id"].to_pylist()]
                for target in sorted(set(targets)):
                    sinks[target].write_table(table.filter(pa.array([each == target for each in targets])))
        for path in paths:
            with pa.ipc.open_stream(str(path)) as source:
                table = source.read_all()
            order = pa.array([position[sample_id] for sample_id in table["sample_id"].to_pylist()], pa.int64())
            data.write_parquet(path.name, table.take(pc.sort_indices(order)))
    for stale in set(data.list_files(".parquet")) - set(names):
        data.delete(stale)
    return names


PRIVATE_KEYS = ("output", "run", "resources", "push_to_hub")
"""Keys of the config that change no row and are not published: folders, the cluster and its size."""

ENDPOINT = "base_url"
"""Key of a model or a judge behind an API. It may be a private server; the name of its model is published."""


def published_config(config: dict[str, Any]) -> dict[str, Any]:
    """A build's config without folders and endpoints."""
    return _without_endpoints({key: each for key, each in config.items() if key not in PRIVATE_KEYS})


def published_record(record: dict[str, Any]) -> dict[str, Any]:
    """The content of dataset.json without folders and endpoints."""
    return _without_endpoints(record | {"config": published_config(record["config"])})


def _without_endpoints(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _cleared(each) for key, each in tree.items() if key != ENDPOINT}


def _cleared(value: Any) -> Any:
    if isinstance(value, dict):
        return _without_endpoints(value)
    return [_cleared(each) for each in value] if isinstance(value, list) else value


CARD = "README.md"


def check_token() -> None:
    """Raises InputError without a token of the hub. Sends no request."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise InputError("--push-to-hub: there is no token. Fix: set HF_TOKEN, or log in with `hf auth login`.")


def push_dataset(folder: Folder, repository: str) -> str:
    """Upload the data set in `folder` as one commit to a data set of the hub, which is created private if it is new.

    Rows of an earlier upload are replaced. The record is published without folders and endpoints. Returns the address.
    Raises StorageError with the error of the hub.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    with TemporaryDirectory(prefix="safechain-ray-push-") as upload:
        for file in folder.list_facts():
            if file.name == CARD:
                folder.fetch(file, Path(upload, CARD))
        record = published_record(json.loads(folder.read_text(RECORD)))
        Path(upload, RECORD).write_text(json.dumps(record, indent=2) + "\n")
        rows = folder / "data"
        for file in rows.list_facts():
            target = Path(upload, "data", file.name)
            target.parent.mkdir(exist_ok=True)
            rows.fetch(file, target)
        try:
            api = HfApi()
            url = api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            api.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=upload,
                delete_patterns="data/*",
                commit_message="Rows, card and record of a data set built by safechain-ray",
            )
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = redact(str(error)).strip().splitlines() or [type(error).__name__]
            raise StorageError(
                f"Can't push {folder} to {repository}: {reason[0].rstrip('.')}. The data set is complete in its "
                "folder. Fix: check the repository's name and the token, and rerun the command to push again."
            ) from error
    return str(url)


DATA = "data"


def is_stored_set(name: str) -> bool:
    """Whether `name` is the URI of a folder, and not of a file."""
    return "://" in name and not has_known_suffix(name)


def as_built(config: TrainingSetConfig) -> TrainingSetConfig:
    """The config with `has_thoughts` of the folder's record: a control has none. The user's value takes precedence."""
    is_folder = is_stored_set(config.name) or Path(config.name).expanduser().is_dir()
    if config.has_thoughts is not None or not is_folder or not _is_control(open_folder(config.name)):
        return config
    return config.model_copy(update={"has_thoughts": False})


def _is_control(folder: Folder) -> bool:
    """False too where there is no record, or one that `build-dataset` did not write."""
    if not folder.exists(RECORD):
        return False
    try:
        return bool(json.loads(folder.read_text(RECORD))["identity"]["selection"]["answers_only"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


@contextmanager
def fetched_set(config: TrainingSetConfig) -> Iterator[TrainingSetConfig]:
    """The config with a local copy in place of the URI. Raises InputError where there is no data set."""
    data = open_folder(config.name) / DATA
    files = [file for file in data.list_facts() if file.name.endswith(".parquet")]
    if not files:
        raise InputError(
            f"No training set at {redact(config.name)}: there is no Parquet file in {DATA}/ below it. Fix: name the "
            "folder of build-dataset, or a file."
        )
    with TemporaryDirectory(prefix="safechain-ray-set-") as folder:
        target = Path(folder, DATA)
        target.mkdir()
        for file in files:
            data.fetch(file, target / file.name)
        yield config.model_copy(update={"name": folder})


def named_after(source: TrainingSet, config: TrainingSetConfig) -> TrainingSet:
    """The set under its URI in place of the folder of its local copy."""
    return replace(source, source=redact(config.name))
