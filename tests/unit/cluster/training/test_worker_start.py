"""What a worker makes of the checkpoint that it finds in the output before it trains."""

from pathlib import Path

import pytest

from safechain_ray.cluster.training.worker import _put_in_place
from safechain_ray.errors import InputError
from safechain_ray.storage import open_folder
from safechain_ray.training import trainer
from safechain_ray.training.checkpoints import CheckpointStore, last_checkpoint
from safechain_ray.training.processes import Processes
from tests.small_training import job

WHOLE = ("trainer_state.json", "model.safetensors")
SHARDS = ("trainer_state.json", "pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/__1_0.distcp")


def stored(folder: Path, files: tuple[str, ...]) -> CheckpointStore:
    made = folder / "made"
    for name in files:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text('{"log_history": []}')
    store = CheckpointStore(open_folder(str(folder / "output")), "ours", keep=2)
    store.put(made, 4, Processes(0, 1, 0, 1))
    return store


@pytest.mark.parametrize(("files", "in_shards"), [(WHOLE, False), (SHARDS, True)], ids=["whole", "shards"])
def test_a_checkpoint_of_the_kind_that_it_can_read_lies_where_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], in_shards: bool
):
    monkeypatch.setattr(trainer, "trains_in_shards", lambda: in_shards)
    training = job(tmp_path / "scratch")
    _put_in_place(stored(tmp_path, files), training)
    found = last_checkpoint(training.output)
    assert found is not None
    assert found.step == 4


@pytest.mark.parametrize(("files", "in_shards"), [(WHOLE, True), (SHARDS, False)], ids=["whole", "shards"])
def test_a_checkpoint_of_the_other_kind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], in_shards: bool
):
    monkeypatch.setattr(trainer, "trains_in_shards", lambda: in_shards)
    with pytest.raises(InputError, match=r"step-000004 was written (whole|in shards) by 1 worker"):
        _put_in_place(stored(tmp_path, files), job(tmp_path / "scratch"))
