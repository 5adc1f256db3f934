"""Two processes in shards (FSDP) reach the losses of one, resume from a checkpoint, and export."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.config import LoraOptions
from safechain_ray.errors import StorageError
from safechain_ray.training.shard_pickles import check_shards
from safechain_ray.training.trainer import Hooks, train
from tests.sharded_processes import in_shards
from tests.small_disk import mounted
from tests.small_training import job, loss_of, losses

pytestmark = pytest.mark.long

WAYS: dict[str, dict[str, Any]] = {
    "all-weights": {"gradient_checkpointing": True},
    "more-processes": {"sequences_a_step": 4, "epochs": 6},
    "adapters": {"gradient_checkpointing": True, "lora": LoraOptions(rank=4)},
    "half-precision": {"gradient_checkpointing": True, "precision": "bfloat16"},
    "half-precision-adapters": {"gradient_checkpointing": True, "precision": "bfloat16", "lora": LoraOptions(rank=4)},
}
"""Options, by the name of a folder: the processes are told of a folder alone."""

TOLERANCES = {
    # The last step of an epoch has two sequences here: four processes each take one, so that these two count twice.
    "more-processes": 0.01,
    # What is logged of shards is bfloat16 itself: of a loss near 3 every 64th.
    "half-precision": 0.01,
    "half-precision-adapters": 0.01,
}
"""Of a loss, in nats a token; of all others 1e-5."""


class StoppedError(Exception):
    pass


def train_to_step_8(folder: Path) -> None:
    def stop(checkpoint: Path) -> None:
        if checkpoint.name == "checkpoint-8":
            raise StoppedError

    with suppress(StoppedError):
        train(job(folder / "run", **WAYS[folder.name]), Hooks(saved=stop))


def go_on(folder: Path) -> None:
    assert train(job(folder / "run", **WAYS[folder.name])).resumed_from == 8


@pytest.mark.parametrize("way", WAYS)
def test_a_training_in_shards_that_was_stopped_ends_as_one_of_a_single_process(tmp_path: Path, way: str) -> None:
    folder = tmp_path / way
    folder.mkdir()
    in_shards(train_to_step_8, folder)
    check_shards(folder / "run" / "checkpoint-8")
    in_shards(go_on, folder, 4 if way == "more-processes" else 2)

    alone = job(tmp_path / "alone", **WAYS[way])
    outcome = train(alone)

    assert losses(folder / "run") == pytest.approx(losses(alone.output), abs=TOLERANCES.get(way, 1e-5))
    assert alone.held_out is not None
    assert outcome.evaluation_loss is not None
    # Half precision, as the base's weights are stored.
    assert loss_of(folder / "run" / "model", alone.held_out) == pytest.approx(outcome.evaluation_loss, abs=0.01)
    shards = {path.name for path in (folder / "run").rglob("*.distcp")}
    assert {"__0_0.distcp", "__1_0.distcp"} <= shards


def train_on_a_full_disk(folder: Path) -> None:
    with pytest.raises(StorageError, match=r"run can't be written .*No space left on device.*free some space there"):
        train(job(folder / "run"))


def test_shards_that_find_no_room_are_told_as_a_full_disk_by_every_process(tmp_path: Path) -> None:
    with mounted(tmp_path / "run", "12m"):  # a checkpoint takes 18
        in_shards(train_on_a_full_disk, tmp_path)
