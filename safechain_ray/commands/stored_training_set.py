"""A training set that `build-dataset` left: what its record says; from a store, its files while they are read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from safechain_ray.commands.training_set_folder import RECORD
from safechain_ray.config import TrainingSetConfig
from safechain_ray.datasets.files import has_known_suffix
from safechain_ray.datasets.training_sets import TrainingSet
from safechain_ray.errors import InputError
from safechain_ray.storage import Folder, open_folder, redact

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
