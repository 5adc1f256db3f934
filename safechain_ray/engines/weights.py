"""Location of a model's weights: in the package, in a folder, in an object store, or on the Hugging Face hub.

Weights in an object store are copied once to each node, whole or not at all.
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
from safechain_ray.storage import FileFacts, Folder, RetryPolicy, open_folder, refuse_mistyped
from safechain_ray.types import short_hash

PACKAGE_SCHEME = "package://"

FILE_SCHEME = "file://"

ENGINE_STORE_TIMEOUT = 600.0
"""Seconds that a starting engine waits for a store that does not answer. Drivers and `doctor` wait less."""

WEIGHTS = ".safetensors"

WANTED = (WEIGHTS, ".json", ".jinja", ".model", ".tiktoken", ".txt")
"""Files that engines and tokenizers read. Pickles (.bin, .pt, .pth), code and subfolders are not copied."""

COPIES = "SAFECHAIN_WEIGHTS"
"""The environment variable with the folder of a node's copies."""

GB = 1e9


@dataclass(frozen=True)
class StoredModel:
    """The files of a model as a store listed them."""

    folder: Folder
    files: tuple[FileFacts, ...]

    @classmethod
    def at(cls, uri: str, patience: RetryPolicy | None = None) -> "StoredModel":
        """List the folder. Raises InputError where it is not a model's folder, and the errors of `Folder`."""
        folder = open_folder(uri, patience)
        listed = folder.list_facts()
        if not listed:
            raise InputError(f"No model folder at {folder}: there are no files. Fix: check the path and the bucket.")
        files = tuple(file for file in listed if file.name.endswith(WANTED))
        if not any(file.name == "config.json" for file in files):
            raise InputError(
                f"{folder} is not a model's folder: it has no config.json. Fix: give the folder that has config.json "
                f"and *{WEIGHTS}, or upload the missing files."
            )
        if not any(file.name.endswith(WEIGHTS) for file in files):
            raise InputError(
                f"{folder} has no *{WEIGHTS}, and weights in a format that may run code are not loaded from a store. "
                "Fix: save the model with transformers' save_pretrained, and upload that folder."
            )
        return cls(folder, files)

    @property
    def weight_bytes(self) -> int:
        return sum(file.size for file in self.files if file.name.endswith(WEIGHTS))

    @property
    def size(self) -> int:
        """Bytes of all files that are copied."""
        return sum(file.size for file in self.files)

    @property
    def copy_name(self) -> str:
        """A name that changes with the name, size or time of a file, so that running engines keep their copy."""
        last = re.sub(r"[^\w.-]+", "-", PurePosixPath(self.folder.path).name).strip("-.") or "model"
        return f"{last}-{short_hash(self.folder.path, *self.files)}"

    @contextmanager
    def without_weights(self, *names: str) -> Iterator[Path]:
        """A temporary folder with the small files, or only with `names`."""
        with TemporaryDirectory(prefix="safechain-ray-") as folder:
            for file in self.files:
                if file.name in names or not (names or file.name.endswith(WEIGHTS)):
                    self.folder.fetch(file, Path(folder, file.name))
            yield Path(folder)

    def fetch(self) -> Path:
        """The node's copy. One process copies the files, and other processes wait for it.

        Whole files of a killed process are reused. Raises StorageError where the disk is too small.
        """
        copies = copies_folder()
        target, partial = copies / self.copy_name, copies / f".{self.copy_name}.partial"
        try:
            copies.mkdir(parents=True, exist_ok=True)
            with _locked(copies / f".{self.copy_name}.lock"):
                if not target.is_dir():
                    partial.mkdir(exist_ok=True)
                    self._fetch_into(partial)
                    partial.rename(target)
        except OSError as error:
            raise StorageError(
                f"The weights at {self.folder} can't be copied to {copies}: {error.strerror}. "
                f"Fix: set {COPIES} to a folder that this user may write."
            ) from error
        return target

    def _fetch_into(self, partial: Path) -> None:
        for incomplete in partial.glob("*.part"):
            incomplete.unlink()
        missing = [file for file in self.files if not (partial / file.name).exists()]
        self._check_disk(partial, sum(file.size for file in missing))
        for file in missing:
            self.folder.fetch(file, partial / file.name)

    def _check_disk(self, partial: Path, needed: int) -> None:
        free = disk_usage(partial).free
        if needed > free:
            raise StorageError(
                f"The weights at {self.folder} need {needed / GB:.3g} GB more, and {free / GB:.3g} GB are "
                f"free at {partial.parent}. Fix: free disk space, or set {COPIES} to a folder on a larger disk."
            )


@cache
def fetch_weights(uri: str) -> str:
    """The folder of the node's copy, cached: an engine that restarts in the same process does not list the store."""
    return str(StoredModel.at(uri, RetryPolicy(ENGINE_STORE_TIMEOUT)).fetch())


def copies_folder() -> Path:
    """The folder of a node's copies of models: $SAFECHAIN_WEIGHTS, else beside the hub's own cache.

    On a cluster HF_HOME may be a shared folder that nodes can't write: set SAFECHAIN_WEIGHTS there.
    """
    if named := os.environ.get(COPIES):
        return Path(named).expanduser()
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "safechain-ray"


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """A lock of one process or thread of the node. The lock of a killed process is released."""
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_stored(source: str) -> bool:
    """Whether `source` is the URI of an object store, such as s3://bucket/weights/r1-7b."""
    return "://" in source and not source.startswith((PACKAGE_SCHEME, FILE_SCHEME))


def is_hub_id(source: str) -> bool:
    """Whether `source` is a Hugging Face id: neither a URI nor a path."""
    return "://" not in source and not _is_path(source)


def _is_path(source: str) -> bool:
    return source.startswith(("/", "./", "../", "~"))


def weights_location(source: str) -> str:
    """A local folder or a Hugging Face id, as engines and tokenizers open it. Weights in a store are copied first.

    Raises:
        InputError: The folder does not exist, or `source` is a URI that lacks a slash.
        StorageError: The store can't be read, or the disk is too small.
    """
    refuse_mistyped(source)
    if is_stored(source):
        return fetch_weights(source)
    if source.startswith(PACKAGE_SCHEME):
        shipped = Path(str(files("safechain_ray") / "demo" / "models"))
        folder = shipped / source.removeprefix(PACKAGE_SCHEME)
        if not folder.is_dir():
            known = sorted(f"{PACKAGE_SCHEME}{config.parent.name}" for config in shipped.glob("*/config.json"))
            raise InputError(
                f"{source}: the package ships no such model (looked in {folder}). Fix: use one of {', '.join(known)}."
            )
        return str(folder)
    local = open_folder(source).path if source.startswith(FILE_SCHEME) else source
    looks_local = _is_path(local)
    if looks_local and not Path(local).expanduser().is_dir():
        raise InputError(
            f"No model folder at {source}. Fix: give a folder that exists on every node, or a Hugging Face id."
        )
    return str(Path(local).expanduser()) if looks_local else source
