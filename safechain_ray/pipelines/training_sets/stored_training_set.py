"""A training set that `build-dataset` left in an object store: its files are fetched for as long as they are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from safechain_ray.config import TrainingSetConfig
from safechain_ray.datasets.files import has_known_suffix
from safechain_ray.datasets.training_sets import TrainingSet
from safechain_ray.errors import InputError
from safechain_ray.storage import open_folder, redact

DATA = "data"


def is_stored_set(name: str) -> bool:
    """Whether it is the URI of a folder, and not of a file."""
    return "://" in name and not has_known_suffix(name)


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
