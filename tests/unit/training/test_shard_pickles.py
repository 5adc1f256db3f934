"""A sharded checkpoint from a bucket can't run code of a third party."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, MetadataIndex, StorageMeta

from safechain_ray.errors import StorageError
from safechain_ray.training.shard_pickles import INDEX, check_shards


class Writes:
    """Writes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._file,)


def save(folder: Path, **values: Any) -> Path:
    """A checkpoint of a model and its optimizer after a step, in its usual place below the folder."""
    model = torch.nn.Linear(3, 3, dtype=torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **values}
    dcp.save(state, checkpoint_id=folder / "optimizer_0", no_dist=True)
    return folder


def test_what_torch_writes_passes(tmp_path: Path) -> None:
    check_shards(save(tmp_path, betas=(0.9, 0.999), name="text"))


def test_a_checkpoint_without_shards_passes(tmp_path: Path) -> None:
    torch.save({"lr": 0.1}, tmp_path / "scheduler.pt")
    check_shards(tmp_path)


def test_an_index_that_names_anything_else_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-8")
    (folder / "optimizer_0" / INDEX).write_bytes(pickle.dumps(Writes(tmp_path / "written")))
    with pytest.raises(StorageError, match=r"might run code: optimizer_0/\.metadata: it names "):
        check_shards(folder)
    assert not (tmp_path / "written").exists()


def test_a_value_among_the_shards_that_is_no_plain_one_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-8", extra=Writes(tmp_path / "written"))
    with pytest.raises(StorageError, match="move it out of the output's checkpoints/"):
        check_shards(folder)
    assert not (tmp_path / "written").exists()


def test_a_cut_off_index_and_a_missing_shard_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-8", name="text")
    index = folder / "optimizer_0" / INDEX
    whole = index.read_bytes()
    index.write_bytes(whole[:100])
    with pytest.raises(StorageError, match="is not as torch writes it"):
        check_shards(folder)
    index.write_bytes(whole)
    (folder / "optimizer_0" / "__0_0.distcp").unlink()
    with pytest.raises(StorageError, match="No such file"):
        check_shards(folder)


def test_a_shard_outside_the_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-8")
    index = folder / "optimizer_0" / INDEX
    metadata = pickle.loads(index.read_bytes())
    (tmp_path / "elsewhere").write_bytes((folder / "optimizer_0" / "__0_0.distcp").read_bytes())
    for name in ("../../elsewhere", str(tmp_path / "elsewhere")):
        for info in metadata.storage_data.values():
            info.relative_path = name
        index.write_bytes(pickle.dumps(metadata))
        with pytest.raises(StorageError, match="is no name inside the folder"):
            check_shards(folder)


def test_an_error_without_text_is_named_by_its_type(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-8")
    (folder / "optimizer_0" / INDEX).write_bytes(b"\x80\x05\x8e" + (2**62).to_bytes(8, "little"))
    with pytest.raises(StorageError, match=r"optimizer_0/\.metadata: MemoryError\. Fix: move it out"):
        check_shards(folder)


def index_that_changes_a_class(shard: bytes) -> bytes:
    """An index that is empty, and sets attributes of its own class: the next one that is loaded has other shards."""

    def fields(value: object) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    empty = {"state_dict_metadata": {}, "planner_data": None, "storage_data": {}, "storage_meta": None, "version": None}
    later = {
        "state_dict_metadata": {"x": BytesStorageMetadata()},
        "storage_data": {MetadataIndex("x"): _StorageInfo("__0_0.distcp", 0, len(shard))},
        "__setstate__": StorageMeta,
    }
    name = b"ctorch.distributed.checkpoint.metadata\nMetadata\n"
    built = name + b")\x81" + fields(empty) + b"b"
    return b"\x80\x02" + built + name + b"N" + fields(later) + b"\x86b0."


def test_an_index_that_changes_a_class_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """torch loads the index again in this process, and would run what the changed class names."""
    shards = tmp_path / "checkpoint-8" / "optimizer_0"
    shards.mkdir(parents=True)
    with open(shards / "__0_0.distcp", "wb") as shard:
        torch.save(Writes(tmp_path / "written"), shard)
    (shards / INDEX).write_bytes(index_that_changes_a_class((shards / "__0_0.distcp").read_bytes()))
    attributes = dict(vars(Metadata))
    with pytest.raises(StorageError, match=r"it changes <class '.*Metadata'>"):
        check_shards(tmp_path / "checkpoint-8")
    assert dict(vars(Metadata)) == attributes
    assert not (tmp_path / "written").exists()
    check_shards(save(tmp_path / "other"))


def test_an_index_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-8")
    (folder / "optimizer_0" / INDEX).write_bytes(b"\x80\x02Nr\xff\xff\xff\x0f.")
    with pytest.raises(StorageError, match="it numbers an object 268435455"):
        check_shards(folder)
