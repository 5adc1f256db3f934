"""Validation of the pickles in a sharded checkpoint before torch loads them.

In a bucket, others may have write access too. torch (2.13) unpickles the shards' index (`.metadata`) and the values
that are no tensors, also with `weights_only`. It reads the rest of a checkpoint as tensors and plain values.
"""

import io
import pickle
import pickletools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import EnumType
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from safechain_ray.errors import StorageError, first_line
from safechain_ray.storage import checked_name

INDEX = ".metadata"

_ABSENT = object()

NAMES_IN_AN_INDEX = {
    ("pathlib", "PosixPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    *(
        ("torch.distributed.checkpoint.metadata", name)
        for name in (
            *("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta"),
            *("TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
        )
    ),
}


def check_shards(checkpoint: Path) -> None:
    """Check every pickle in the local folder `checkpoint`.

    Raises:
        StorageError: a pickle contains what torch does not write there, and loading it might run code.
    """
    for index in sorted(checkpoint.rglob(INDEX)):
        try:
            _check_values(index)
        except Exception as error:  # an unpickler may raise anything for arbitrary bytes
            raise StorageError(
                f"The checkpoint in {checkpoint} is not as torch writes it, and loading it might run code: "
                f"{index.relative_to(checkpoint)}: {first_line(error)}. Fix: move it out of the output's checkpoints/ "
                "and rerun the command to resume from the checkpoint before it, or from the beginning."
            ) from error


def _check_values(index: Path) -> None:
    data = index.read_bytes()
    _check_memo(data)
    with _unchanged_classes():
        metadata = _IndexUnpickler(io.BytesIO(data)).load()
    for place, info in metadata.storage_data.items():
        checked_name(info.relative_path)  # torch reads tensors from there too
        if isinstance(metadata.state_dict_metadata[place.fqn], BytesStorageMetadata):
            with open(index.parent / info.relative_path, "rb") as shard:
                shard.seek(info.offset)
                torch.load(io.BytesIO(shard.read(info.length)), weights_only=True)


def _check_memo(data: bytes) -> None:
    """Raises UnpicklingError for a pickle with a memo index larger than itself: 13 bytes can request 64 GiB.

    A pickle that does not parse is left to the unpickler, which fails at the same byte.
    """
    with suppress(ValueError):
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
                raise pickle.UnpicklingError(f"it numbers an object {argument}")


@contextmanager
def _unchanged_classes() -> Iterator[None]:
    """Raises UnpicklingError if unpickling changed one of the allowed classes, and reverts the change.

    The opcode BUILD sets attributes of any object, including classes. An index could seem empty during this check and
    contain other shards when torch loads it in the same process.
    """
    objects = [obj for module, name in NAMES_IN_AN_INDEX for obj in _with_members(module, name)]
    before = [(obj, dict(vars(obj))) for obj in objects]
    try:
        yield
    finally:
        changed = [obj for obj, attributes in before if _restore(obj, attributes)]
    if changed:
        raise pickle.UnpicklingError(f"it changes {changed[0]!r}")


def _with_members(module: str, name: str) -> Iterator[Any]:
    """The object of this name, and the members of an enumeration that have attributes of their own."""
    found = getattr(import_module(module), name)
    members = found if isinstance(found, EnumType) else ()
    yield from (each for each in (found, *members) if hasattr(each, "__dict__"))


def _restore(obj: Any, attributes: dict[str, Any]) -> bool:
    """Restore the attributes of `obj`. Returns whether any had changed."""
    now = dict(vars(obj))
    different = [key for key in {*now, *attributes} if now.get(key, _ABSENT) is not attributes.get(key, _ABSENT)]
    for key in different:
        if key in attributes:
            setattr(obj, key, attributes[key])
        else:
            delattr(obj, key)
    return bool(different)


class _IndexUnpickler(pickle.Unpickler):
    """Unpickler that allows only the classes of an index and torch's data types."""

    def find_class(self, module: str, name: str, /) -> Any:
        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_type and (module, name) not in NAMES_IN_AN_INDEX:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)
