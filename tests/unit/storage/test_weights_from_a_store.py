"""Model folders in an object store: downloaded once per node, completely, and described without the weights."""

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import uuid4

import pytest
from huggingface_hub import constants

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.commands.doctor.examine import examine
from safechain_ray.commands.sweep.estimate import Assumptions, estimate_run
from safechain_ray.config import ResourcesConfig, RunConfig, SweepConfig, read_config, read_config_as
from safechain_ray.engines import weights
from safechain_ray.engines.start import EngineStart
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.engines.weights import StoredModel, fetch_weights, weights_location
from safechain_ray.errors import EngineStartError, InputError, StorageError
from safechain_ray.runs.pools import pool_needs
from safechain_ray.runs.resolve import resolve
from safechain_ray.storage import RetryPolicy, files, open_folder
from tests.installed_device import INSTALLED_DEVICE
from tests.s3_server import Store

KEYS = "test%3Atester:testing"

SHARD = bytes(range(256)) * 8_000
"""2 MB."""

DEMO = Path(weights_location("package://demo-reasoner"))

DIES = """
import os
from safechain_ray.storage import files

left, pwrite = 3, os.pwrite

def dies_in_the_second_file(*arguments):
    global left
    left -= 1
    return pwrite(*arguments) if left else os.kill(os.getpid(), 9)

files.CHUNK_BYTES, os.pwrite = 600_000, dies_in_the_second_file
"""

FETCH = "import sys; from safechain_ray.engines.weights import weights_location; print(weights_location(sys.argv[1]))"


@dataclass(frozen=True)
class Uploaded:
    """A model's folder in the store."""

    store: Store
    path: str

    @property
    def uri(self) -> str:
        return self.store.uri(self.path)

    def write(self, name: str, data: bytes) -> None:
        open_folder(self.uri).write_bytes(name, data)

    def stored(self, patience: float = 60) -> StoredModel:
        return StoredModel.at(self.uri, RetryPolicy(patience))


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this node keeps its copies."""
    folder = tmp_path / "copies"
    monkeypatch.setenv("SAFECHAIN_WEIGHTS", str(folder))
    fetch_weights.cache_clear()
    return folder


@pytest.fixture
def model(store: Store, copies: Path, monkeypatch: pytest.MonkeyPatch) -> Uploaded:
    """Two shards of 2 MB, each fetched in four pieces, and beside them what is not to be fetched."""
    monkeypatch.setattr(files, "CHUNK_BYTES", 600_000)
    uploaded = Uploaded(store, f"{uuid4().hex}/r1-7b")
    uploaded.write("config.json", b'{"model_type": "llama", "max_position_embeddings": 4096}')
    uploaded.write("tokenizer.json", b"{}")
    for number in (1, 2):
        uploaded.write(f"model-0000{number}-of-00002.safetensors", SHARD)
    for unwanted in ("pytorch_model.bin", "training_args.bin", "modeling.py", "original/consolidated.00.pth"):
        uploaded.write(unwanted, b"cos\nsystem\n")
    store.proxy.requests.clear()
    return uploaded


FETCHED = ["config.json", *(f"model-0000{n}-of-00002.safetensors" for n in (1, 2)), "tokenizer.json"]


def fetch_elsewhere(model: Uploaded, before: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"{before}\n{FETCH}", model.uri]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def copies_there(copies: Path) -> list[str]:
    return [name for name in names(copies) if not name.startswith(".")]


def is_whole(folder: Path) -> bool:
    shards = [folder / name for name in FETCHED if name.endswith(".safetensors")]
    return names(folder) == FETCHED and all(shard.read_bytes() == SHARD for shard in shards)


def test_weights_are_fetched_whole_without_what_could_run_code(model: Uploaded, copies: Path) -> None:
    folder = Path(weights_location(model.uri))
    assert is_whole(folder)
    assert folder.parent == copies
    assert folder.name.startswith("r1-7b-")
    assert not (copies / f".{folder.name}.partial").exists()


def test_copies_go_where_the_node_says_though_the_hubs_folder_is_one_that_it_only_reads(
    model: Uploaded, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_folder = tmp_path / "weights"
    no_folder.touch()  # as root may write everywhere, a place where nobody can
    monkeypatch.setattr(constants, "HF_HOME", str(no_folder))
    assert Path(weights_location(model.uri)).parent == copies


def test_copies_lie_beside_the_hubs_where_the_node_says_nothing(
    model: Uploaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAFECHAIN_WEIGHTS")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    assert Path(weights_location(model.uri)).parent == tmp_path / "safechain-ray"


def test_a_place_that_nobody_may_write_is_told_with_the_fix(
    model: Uploaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_folder = tmp_path / "weights"
    no_folder.touch()
    monkeypatch.setenv("SAFECHAIN_WEIGHTS", str(no_folder / "copies"))
    with pytest.raises(StorageError, match="Fix: set SAFECHAIN_WEIGHTS to a folder that this user may write"):
        model.stored().fetch()


def test_weights_that_are_there_are_not_fetched_again_and_an_engine_that_restarts_asks_nothing(
    model: Uploaded, copies: Path
) -> None:
    first = weights_location(model.uri)
    model.store.proxy.requests.clear()
    assert model.stored().fetch() == Path(first)
    assert sum(model.store.proxy.requests.values()) <= 3  # the listing
    model.store.proxy.mode = "unavailable"
    assert weights_location(model.uri) == first


@pytest.mark.slow
def test_of_two_processes_at_once_one_fetches(model: Uploaded, copies: Path) -> None:
    both = [fetch_elsewhere(model) for _ in range(2)]
    told = {Path(process.communicate(timeout=120)[0].strip()) for process in both}
    (folder,) = told
    assert is_whole(folder)
    assert model.store.proxy.requests["HEAD"] <= 2 * len(FETCHED) + 4  # two looks at each file, once


def test_a_process_that_is_killed_leaves_nothing_that_counts_and_the_next_one_completes_it(
    model: Uploaded, copies: Path
) -> None:
    process = fetch_elsewhere(model, before=DIES)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    (partial,) = copies.glob(".*.partial")
    assert names(partial) == ["config.json", f"{FETCHED[1]}.part"]
    assert copies_there(copies) == []
    kept = (partial / "config.json").stat().st_ino
    folder = model.stored().fetch()
    assert is_whole(folder)
    assert (folder / "config.json").stat().st_ino == kept


def test_what_changed_in_the_bucket_is_another_copy(model: Uploaded, copies: Path) -> None:
    first = model.stored().fetch()
    model.write("tokenizer.json", b'{"version": "2.0"}')
    second = model.stored().fetch()
    assert second != first
    assert is_whole(first)
    assert (second / "tokenizer.json").read_bytes() == b'{"version": "2.0"}'


def test_a_file_that_is_replaced_while_it_is_fetched_is_refused(model: Uploaded, copies: Path) -> None:
    listed = model.stored()
    model.write(FETCHED[1], SHARD[:-1])
    with pytest.raises(StorageError, match="its size has changed since the folder was listed") as refusal:
        listed.fetch()
    assert "rerun when nothing writes to it" in str(refusal.value)
    assert copies_there(copies) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["unavailable", "breaks downloads", "stalls"])
def test_an_outage_in_the_middle_costs_pieces_and_nothing_else(
    model: Uploaded, copies: Path, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    stored, proxy = model.stored(), model.store.proxy
    timer = Timer(1, lambda: setattr(proxy, "mode", "passes"))
    pwrite, pieces = os.pwrite, itertools.count(1)

    def fails_from_the_second_file_on(*arguments: Any) -> int:
        if next(pieces) == 2:
            proxy.mode = mode
            timer.start()
        return pwrite(*arguments)

    monkeypatch.setattr(os, "pwrite", fails_from_the_second_file_on)
    assert is_whole(stored.fetch())
    timer.join()
    assert proxy.faults > 0


def test_a_store_that_stays_away_is_given_up_and_what_came_is_kept(model: Uploaded, copies: Path) -> None:
    stored = model.stored(patience=0.5)
    model.store.proxy.mode = "unavailable"
    with pytest.raises(StorageError, match="503"):
        stored.fetch()
    assert copies_there(copies) == []
    model.store.proxy.mode = "passes"
    assert is_whole(model.stored().fetch())


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    model: Uploaded, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 1_000_000

    stored = model.stored()
    monkeypatch.setattr(weights, "disk_usage", lambda path: Full)
    model.store.proxy.requests.clear()
    told = r"need 0.0041 GB more, and 0.001 GB are free .* SAFECHAIN_WEIGHTS to a folder on a larger disk"
    with pytest.raises(StorageError, match=told):
        stored.fetch()
    assert not model.store.proxy.requests


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ([], "there are no files"),
        (["model.safetensors"], "it has no config.json"),
        (["config.json", "pytorch_model.bin"], "a format that may run code"),
    ],
)
def test_what_is_no_models_folder_is_refused_with_the_fix(store: Store, there: list[str], reason: str) -> None:
    uploaded = Uploaded(store, f"{uuid4().hex}/model")
    for name in there:
        uploaded.write(name, b"{}")
    with pytest.raises(InputError, match=reason) as refusal:
        StoredModel.at(store.uri(uploaded.path, KEYS))
    assert "testing" not in str(refusal.value)


def run_of(model: Uploaded, **engine: Any) -> RunConfig:
    named = {"name": model.store.uri(model.path, KEYS), "family": "r1", "engine": engine}
    keys = {"model": named, "datasets": ["quickstart"], "judges": ["refusal-match"]}
    return read_config(None, keys, ())


def test_a_driver_reads_the_config_and_no_weights(model: Uploaded, copies: Path) -> None:
    run = resolve(run_of(model))
    assert (run.model.name, run.family.name, run.model.context_length) == ("r1-7b", "r1", 4096)
    assert run.model.weight_gigabytes == pytest.approx(0.0041, rel=0.01)
    assert model.store.proxy.requests["GET"] <= 3
    assert not copies.exists()


def test_neither_keys_nor_endpoint_are_part_of_what_a_run_is_called_or_tells(model: Uploaded) -> None:
    run = resolve(run_of(model))
    assert run.identity()["model"]["source"] == f"s3://bucket/{model.path}"
    told = json.dumps(run.identity()) + run.short_name()
    told += repr(estimate_run(run_of(model), Assumptions()))
    told += repr(pool_needs(run, ResourcesConfig(), ClusterView((Node("gpu", 64, 8, 1000),))))
    assert "testing" not in told
    assert "endpoint" not in told


def test_an_engine_that_finds_no_weights_says_where_without_keys(model: Uploaded, tmp_path: Path) -> None:
    needs = resolve(run_of(model)).model
    assert not isinstance(needs, ApiEntry)
    elsewhere = needs.model_copy(update={"source": model.store.uri("weights/none", KEYS)})
    with pytest.raises(EngineStartError, match="No model folder at s3://") as refusal:
        start_vllm(EngineStart(elsewhere, INSTALLED_DEVICE, tmp_path / "engine.log"))
    assert "testing" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["s3://bucket/weights/r1-7b/", "gs://bucket/r1-7b", "s3://K:S@b/r1-7b?endpoint_override=h&region=x/y"]
)
def test_a_sweeps_folder_of_a_model_has_the_last_part_of_its_path(name: str) -> None:
    keys = {"models": [name], "datasets": ["quickstart"], "judges": ["refusal-match"], "output": "runs"}
    (run,) = read_config_as(SweepConfig, None, keys).runs()
    assert run.output == "runs/r1-7b"


def test_a_bucket_alone_shows_no_keys_in_the_models_name() -> None:
    keys = {"model": "s3://KEY:SECRET@bucket", "datasets": ["quickstart"], "judges": ["refusal-match"]}
    assert read_config(None, keys, ()).model.short_name == "bucket"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("runs/r1-7b-safechain/model", "r1-7b-safechain"),
        ("s3://K:S@bucket/r1-7b-safechain/model/?region=x", "r1-7b-safechain"),
        ("./model", "model"),
        ("s3://model", "model"),
    ],
)
def test_weights_that_a_fine_tuning_left_go_by_the_name_of_its_output(name: str, short: str) -> None:
    keys = {"model": name, "datasets": ["quickstart"], "judges": ["refusal-match"]}
    assert read_config(None, keys, ()).model.short_name == short


def test_a_revision_of_a_stored_folder_is_refused(model: Uploaded) -> None:
    with pytest.raises(InputError, match="a folder of a store, which has no revisions") as refusal:
        resolve(run_of(model, revision="main"))
    assert "testing" not in str(refusal.value)


def test_the_doctor_checks_tokenizer_and_prompt_and_fetches_no_weights(store: Store, copies: Path) -> None:
    uploaded = Uploaded(store, f"{uuid4().hex}/demo")
    for path in DEMO.iterdir():
        uploaded.write(path.name, path.read_bytes())
    config = read_config(None, {"model": "demo-reasoner", "datasets": ["quickstart"], "judges": ["demo-guard"]}, ())
    findings = list(
        examine(config.model, (), weights=store.uri(uploaded.path, KEYS), output=None, gpu_memory=None, max_tokens=1000)
    )
    assert {finding.status for finding in findings} == {"ok"}
    assert {"tokenizer", "config", "weights", "BOS"} <= {finding.check for finding in findings}
    assert "testing" not in repr(findings)
    assert not copies.exists()


def test_a_folder_may_be_given_as_a_file_uri(tmp_path: Path) -> None:
    assert weights_location(tmp_path.as_uri()) == str(tmp_path)
