"""The pickles in a checkpoint of shards, looked at before torch loads them: in a bucket others may write too.

torch unpickles the index of the shards (`.metadata`) and the values among them that are no tensors (2.13, whatever
`weights_only` says elsewhere). All else of a checkpoint is read as tensors and plain values alone.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from safechain_ray.errors import StorageError, first_line
from safechain_ray.storage import checked_name

INDEX = ".metadata"

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
    """Raises StorageError where loading the local folder `checkpoint` would run what torch did not write there."""
    for index in sorted(checkpoint.rglob(INDEX)):
        try:
            _check_values(index)
        except Exception as error:  # whatever bytes may do to an unpickler
            raise StorageError(
                f"The checkpoint in {checkpoint} is not as torch writes it, and loading it might run code: "
                f"{index.relative_to(checkpoint)}: {first_line(error)}. Take it out of the output's "
                "checkpoints/: the same command goes on from the one before, or from the beginning."
            ) from error


def _check_values(index: Path) -> None:
    with open(index, "rb") as file:
        metadata = _IndexUnpickler(file).load()
    for place, info in metadata.storage_data.items():
        checked_name(info.relative_path)  # torch reads tensors from there too
        if isinstance(metadata.state_dict_metadata[place.fqn], BytesStorageMetadata):
            with open(index.parent / info.relative_path, "rb") as shard:
                shard.seek(info.offset)
                torch.load(io.BytesIO(shard.read(info.length)), weights_only=True)


class _IndexUnpickler(pickle.Unpickler):
    """Knows the classes that make an index, and types of tensors."""

    def find_class(self, module: str, name: str, /) -> Any:
        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_type and (module, name) not in NAMES_IN_AN_INDEX:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)
