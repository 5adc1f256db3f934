"""Where a model's weights lie: shipped with the project, in a folder, in an object store, or on the hub.

A model's folder in an object store: what lies there, and its files fetched once a node, whole or not at all.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from shutil import disk_usage
from tempfile import TemporaryDirectory

from safechain_ray.errors import InputError, StorageError
from safechain_ray.storage import FileFacts, Folder, RetryPolicy, open_folder
from safechain_ray.types import short_hash

ENGINES_WAIT_SECONDS = 600.0

"""How long an engine that starts waits for a silent store; drivers and `doctor` wait as for all that a person asks."""

WEIGHTS = ".safetensors"

WANTED = (WEIGHTS, ".json", ".jinja", ".model", ".tiktoken", ".txt")

"""What engines and tokenizers read. Left in the store: what is unpickled (.bin, .pt, .pth), code, and subfolders."""

COPIES = "SAFECHAIN_WEIGHTS"

"""The environment variable of a node that names the folder of its copies."""

GIGABYTE = 1e9


@dataclass(frozen=True)
class StoredModel:
    """The files of a model as a store listed them."""

    folder: Folder
    files: tuple[FileFacts, ...]

    @classmethod
    def at(cls, uri: str, retry: RetryPolicy | None = None) -> "StoredModel":
        """Asks for the listing alone. Raises InputError for what is no model's folder, StorageError as `Folder`."""
        folder = open_folder(uri, retry)
        listed = folder.list_facts()
        if not listed:
            raise InputError(f"No model folder at {folder}: no file lies there. Check its name and its bucket.")
        files = tuple(file for file in listed if file.name.endswith(WANTED))
        if not any(file.name == "config.json" for file in files):
            raise InputError(f"{folder} is no model's folder: it holds no config.json.")
        if not any(file.name.endswith(WEIGHTS) for file in files):
            raise InputError(
                f"{folder} holds no *{WEIGHTS}, and weights in a format that may run code are not loaded from a store. "
                "Write them with transformers' save_pretrained, and upload that folder."
            )
        return cls(folder, files)

    @property
    def weight_bytes(self) -> int:
        return sum(file.size for file in self.files if file.name.endswith(WEIGHTS))

    @property
    def size(self) -> int:
        """Bytes of all that is fetched."""
        return sum(file.size for file in self.files)

    @property
    def copy_name(self) -> str:
        """Another one where a file has another name, size or time: an engine keeps the copy that it has open."""
        last = re.sub(r"[^\w.-]+", "-", PurePosixPath(self.folder.path).name).strip("-.") or "model"
        return f"{last}-{short_hash(self.folder.path, *self.files)}"

    @contextmanager
    def without_weights(self, *names: str) -> Iterator[Path]:
        """A temporary folder with the small files, or only with `names`."""
        with TemporaryDirectory(prefix="safechain-ray-") as place:
            for file in self.files:
                if file.name in names or not (names or file.name.endswith(WEIGHTS)):
                    self.folder.fetch(file, Path(place, file.name))
            yield Path(place)

    def fetched(self) -> Path:
        """The node's copy. Of several processes that want it one fetches, the others wait.

        What a killed process had fetched whole is kept for the next one. Raises StorageError where there is no room.
        """
        copies = copies_folder()
        target, partial = copies / self.copy_name, copies / f".{self.copy_name}.partial"
        try:
            copies.mkdir(parents=True, exist_ok=True)
            with _alone(copies / f".{self.copy_name}.lock"):
                if not target.is_dir():
                    partial.mkdir(exist_ok=True)
                    self._fetch_into(partial)
                    partial.rename(target)
        except OSError as error:
            raise StorageError(
                f"The weights at {self.folder} can't be kept in {copies}: {error.strerror}. "
                f"Point {COPIES} to a folder that this user may write."
            ) from error
        return target

    def _fetch_into(self, partial: Path) -> None:
        for broken_off in partial.glob("*.part"):
            broken_off.unlink()
        missing = [file for file in self.files if not (partial / file.name).exists()]
        self._check_room(partial, sum(file.size for file in missing))
        for file in missing:
            self.folder.fetch(file, partial / file.name)

    def _check_room(self, partial: Path, needed: int) -> None:
        free = disk_usage(partial).free
        if needed > free:
            raise StorageError(
                f"The weights at {self.folder} need {needed / GIGABYTE:.3g} GB more, and {free / GIGABYTE:.3g} GB are "
                f"free at {partial.parent}. Free some, or point {COPIES} to a larger disk."
            )


@cache
def fetched_weights(uri: str) -> str:
    """The folder of the node's copy. A process stays with the one it has: an engine that starts again asks no store."""
    return str(StoredModel.at(uri, RetryPolicy(ENGINES_WAIT_SECONDS)).fetched())


def copies_folder() -> Path:
    """Where a node keeps copies of models: in $SAFECHAIN_WEIGHTS, else beside the hub's own cache.

    On a cluster HF_HOME is a shared place that nodes only read, and so no place for copies.
    """
    if named := os.environ.get(COPIES):
        return Path(named).expanduser()
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "safechain-ray"


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process or thread of the node at a time; a killed one lets go."""
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


PACKAGE_SCHEME = "package://"

FILE_SCHEME = "file://"


def is_stored(source: str) -> bool:
    """Whether `source` is the URI of an object store, such as s3://bucket/weights/r1-7b."""
    return "://" in source and not source.startswith((PACKAGE_SCHEME, FILE_SCHEME))


def weights_location(source: str) -> str:
    """A local folder or a Hugging Face id that engines and tokenizers open.

    What lies in an object store is fetched first, once a node (`stored_weights.py`). Raises InputError for a missing
    folder, StorageError for a store that can't be read or a disk that is too small.
    """
    if is_stored(source):
        return fetched_weights(source)
    if source.startswith(PACKAGE_SCHEME):
        folder = Path(str(files("safechain_ray") / "demo" / "models" / source.removeprefix(PACKAGE_SCHEME)))
        if not folder.is_dir():
            raise InputError(f"{source}: the package ships no such model (looked in {folder}).")
        return str(folder)
    local = open_folder(source).path if source.startswith(FILE_SCHEME) else source
    looks_local = local.startswith(("/", "./", "../", "~"))
    if looks_local and not Path(local).expanduser().is_dir():
        raise InputError(f"No model folder at {source}.")
    return str(Path(local).expanduser()) if looks_local else source
