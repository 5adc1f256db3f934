"""Where a model's weights lie: shipped with the project, in a folder, in an object store, or on the hub."""

from importlib.resources import files
from pathlib import Path

from safechain_ray.engines.stored_weights import fetched_weights
from safechain_ray.errors import InputError
from safechain_ray.storage import open_folder

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
