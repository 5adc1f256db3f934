"""Checkpoints in an output: complete or ignored, shared between processes, with retention of the last few."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.errors import InputError, RunConflictError, StorageError
from safechain_ray.storage import open_folder
from safechain_ray.training.checkpoints import CheckpointStore, StoredCheckpoint
from safechain_ray.training.processes import Processes

ALONE = Processes(0, 1, 0, 1)


def store(folder: Path, training: str = "ours", keep: int = 2) -> CheckpointStore:
    return CheckpointStore(open_folder(str(folder / "output")), training, keep)


def checkpoint(folder: Path, step: int, files: dict[str, str] | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    for name, text in (files or {"trainer_state.json": "{}", "shards/.metadata": "m", "shards/0": "0"}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def put(folder: Path, *steps: int) -> None:
    for step in steps:
        store(folder).put(checkpoint(folder, step), step, ALONE)


def newest(folder: Path) -> StoredCheckpoint:
    found = store(folder).newest()
    assert found is not None
    return found


def test_what_is_put_comes_back_with_hidden_files_and_is_gone_from_where_it_was(tmp_path: Path):
    put(tmp_path, 4)
    assert not (tmp_path / "checkpoint-4").exists()
    back = tmp_path / "back"
    store(tmp_path).fetch(newest(tmp_path), back)
    found = {path.relative_to(back).as_posix() for path in back.rglob("*") if path.is_file()}
    assert found == {"trainer_state.json", "shards/.metadata", "shards/0"}


def test_an_output_without_checkpoints_has_no_newest(tmp_path: Path):
    assert store(tmp_path).newest() is None


def test_the_last_ones_are_kept_by_their_steps_and_not_by_their_names(tmp_path: Path):
    put(tmp_path, 8, 90, 1_000_000)
    assert store(tmp_path).folder.list_folders() == ["step-000090", "step-1000000"]
    assert newest(tmp_path).step == 1_000_000


def test_a_checkpoint_without_a_manifest_is_passed_over_and_goes_with_the_next(tmp_path: Path):
    put(tmp_path, 4)
    (tmp_path / "output/checkpoints/step-000008").mkdir()
    (tmp_path / "output/checkpoints/step-000008/shards").write_text("half")
    assert newest(tmp_path).step == 4
    put(tmp_path, 12)
    assert store(tmp_path).folder.list_folders() == ["step-000004", "step-000012"]


def test_a_checkpoint_of_another_training_is_refused_with_the_fix(tmp_path: Path):
    put(tmp_path, 4)
    with pytest.raises(RunConflictError, match=r"step-000004 is a checkpoint of another training.*another --output"):
        store(tmp_path, training="theirs").fetch(newest(tmp_path), tmp_path / "back")


SHARDS = {"trainer_state.json": "{}", "model/.metadata": "m", "model/__0_0.distcp": "0", "model/__1_0.distcp": "1"}


def test_shards_are_for_those_that_train_in_shards_again(tmp_path: Path):
    store(tmp_path).put(checkpoint(tmp_path, 4, SHARDS), 4, ALONE)
    with pytest.raises(
        InputError, match=r"step-000004 was written in shards by 1 worker on GPUs.*two or more.*another --output"
    ):
        store(tmp_path).fetch(newest(tmp_path), tmp_path / "back")
    assert not (tmp_path / "back").exists()
    store(tmp_path).fetch(newest(tmp_path), tmp_path / "back", in_shards=True)


def test_a_whole_checkpoint_is_for_those_that_hold_the_whole_model(tmp_path: Path):
    put(tmp_path, 4)
    with pytest.raises(InputError, match=r"step-000004 was written whole by 1 worker,.*--workers 1.*another --output"):
        store(tmp_path).fetch(newest(tmp_path), tmp_path / "back", in_shards=True)
    assert not (tmp_path / "back").exists()


def test_a_file_that_is_not_what_the_manifest_says_is_no_checkpoint_to_go_on_from(tmp_path: Path):
    put(tmp_path, 4)
    (tmp_path / "output/checkpoints/step-000004/shards/0").write_text("")
    with pytest.raises(StorageError, match="shards/0"):
        store(tmp_path).fetch(newest(tmp_path), tmp_path / "back")


def rewrite_manifest(folder: Path, **changed: Any) -> None:
    manifest = folder / "output/checkpoints/step-000004/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changed))


@pytest.mark.parametrize("name", ["../../victim", "{folder}/victim", "shards/../../../victim", "", "a\0b", "\ud800"])
def test_a_name_that_leads_out_of_the_checkpoint_is_refused_before_any_fetch(tmp_path: Path, name: str):
    put(tmp_path, 4)
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "output/checkpoints/victim").write_text("replaced")
    good = {"name": "trainer_state.json", "size": 2}
    rewrite_manifest(tmp_path, files=[good, {"name": name.format(folder=tmp_path), "size": 8}])
    with pytest.raises(InputError, match=r"step-000004/manifest\.json is .*Fix: delete .*step-000004"):
        store(tmp_path).fetch(newest(tmp_path), tmp_path / "a/back")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"step": 8},
        {"step": "4/../../.."},
        {"files": [{"name": "a", "size": 1}, {"name": "a/b", "size": 1}]},
        {"files": [{"name": "a", "size": -1}]},
        {"files": 3},
        {"processes": None},
    ],
    ids=str,
)
def test_a_manifest_that_no_training_wrote_is_refused_with_the_fix(tmp_path: Path, changed: dict[str, Any]):
    put(tmp_path, 4)
    rewrite_manifest(tmp_path, **changed)
    with pytest.raises(InputError, match=r"manifest\.json is .*Fix: delete .*resumes from the checkpoint before it"):
        store(tmp_path).newest()


@dataclass
class Together:
    """Two processes as threads: what they gather and where they wait."""

    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))
    brought: dict[int, Any] = field(default_factory=dict)

    def process(self, rank: int, same_node: bool) -> Any:
        this = self

        class Process(Processes):
            def wait(self) -> None:
                this.barrier.wait(10)

            def gather(self, mine: Any) -> list[Any]:
                this.brought[rank] = mine
                this.barrier.wait(10)
                return [this.brought[0], this.brought[1]]

        return Process(rank, 2, rank if same_node else 0, 2 if same_node else 1)


def run(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("same_node", [True, False], ids=["one-node", "two-nodes"])
def test_processes_share_the_files_of_their_node_and_the_first_one_names_all(tmp_path: Path, same_node: bool):
    together = Together()
    if same_node:
        both = checkpoint(tmp_path, 4, {"trainer_state.json": "{}", "0": "0", "1": "1"})
        places = [both, both]
    else:
        files = ({"trainer_state.json": "{}", "0": "0"}, {"1": "1"})
        places = [checkpoint(tmp_path / f"node-{rank}", 4, files[rank]) for rank in (0, 1)]
    processes = [together.process(rank, same_node) for rank in (0, 1)]
    run(*(lambda rank=rank: store(tmp_path).put(places[rank], 4, processes[rank]) for rank in (0, 1)))
    assert [file.name for file in newest(tmp_path).files] == ["0", "1", "trainer_state.json"]
    shares = [len(brought) for brought in together.brought.values()]
    assert sorted(shares) == [1, 2]


def test_a_model_is_there_when_its_config_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = checkpoint(tmp_path, 0, {"config.json": "{}", "model.safetensors": "w", "tokenizer.json": "t"})
    order: list[str] = []
    upload = type(store(tmp_path).output).upload
    monkeypatch.setattr(
        type(store(tmp_path).output),
        "upload",
        lambda self, source, name: (order.append(name), upload(self, source, name))[1],
    )
    (tmp_path / "output/model").mkdir(parents=True)
    (tmp_path / "output/model/of-an-earlier-try").write_text("")
    store(tmp_path).put_model(model)
    assert order == ["model.safetensors", "tokenizer.json", "config.json"]
    assert {path.name for path in (tmp_path / "output/model").iterdir()} == set(order)


def test_the_manifest_is_plain_json(tmp_path: Path):
    put(tmp_path, 4)
    manifest = json.loads((tmp_path / "output/checkpoints/step-000004/manifest.json").read_text())
    assert manifest["step"] == 4
    assert manifest["training"] == "ours"
    assert {file["name"]: file["size"] for file in manifest["files"]}["shards/.metadata"] == 1


def test_logs_of_a_tracker_go_along_and_those_of_earlier_tries_stay(tmp_path: Path):
    for name in ("first", "second"):
        checkpoint(tmp_path, 0, {f"runs/{name}/events.out": name})
        store(tmp_path).put_logs(tmp_path / "checkpoint-0")
        (tmp_path / f"checkpoint-0/runs/{name}/events.out").unlink()
    assert (tmp_path / "output/runs/first/events.out").read_text() == "first"
    assert (tmp_path / "output/runs/second/events.out").read_text() == "second"
