"""The upload to the hub: the rows, the card and the record in one commit, and nothing of the run."""

import json
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError

from safechain_ray.commands.training_set_folder import push_dataset
from safechain_ray.errors import StorageError
from safechain_ray.storage import Folder, open_folder

OURS = "inside.example"
KEPT = {
    "identity": {"run": {"model": {"api_model": "r1"}, "judges": [{"name": "moderation", "endpoint": {"model": "m"}}]}},
    "config": {"samples": 5, "seed": 0, "model": {"name": "openai:r1"}, "judges": [{"endpoint": {}}]},
    "git_revision": "b3c808e",
    "rows": 20,
}
"""of a record, on the hub too"""
RECORD = {
    **KEPT,
    "identity": {
        "run": {
            "model": {"api_model": "r1", "base_url": f"http://{OURS}/v1"},
            "judges": [{"name": "moderation", "endpoint": {"model": "m", "base_url": f"http://{OURS}/v1"}}],
        }
    },
    "config": {
        "samples": 5,
        "seed": 0,
        "model": {"name": "openai:r1", "base_url": f"http://{OURS}/v1"},
        "judges": [{"endpoint": {"base_url": f"http://{OURS}/v1"}}],
        "output": f"s3://{OURS}/set",
        "run": f"s3://{OURS}/run",
        "push_to_hub": "me/mine",
        "resources": {"ray_address": f"{OURS}:6379"},
    },
}


class Hub:
    """Stands for HfApi: keeps what is uploaded, or refuses it."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}

    def create_repo(self, repository: str, **options: Any) -> str:
        if self.refusal is not None:
            raise self.refusal
        self.created = {"id": repository, **options}
        return f"https://hub.example/datasets/{repository}"

    def upload_folder(self, folder_path: str, **options: Any) -> None:
        self.options = options
        files = [path for path in Path(folder_path).rglob("*") if path.is_file()]
        self.files = {str(path.relative_to(folder_path)): path.read_bytes() for path in files}


@pytest.fixture
def built(tmp_path: Path) -> Folder:
    folder = open_folder(str(tmp_path))
    for name in ("README.md", "data/train-00000-of-00001.parquet", "run/run.json", "_lease.json"):
        folder.write_text(name, "x")
    folder.write_text("dataset.json", json.dumps(RECORD))
    return folder


def test_rows_card_and_record_are_pushed_and_the_run_is_not(built: Folder, monkeypatch: pytest.MonkeyPatch):
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    assert push_dataset(built, "me/mine") == "https://hub.example/datasets/me/mine"
    assert hub.files.keys() == {"README.md", "dataset.json", "data/train-00000-of-00001.parquet"}
    assert hub.created == {"id": "me/mine", "repo_type": "dataset", "private": True, "exist_ok": True}
    assert hub.options["delete_patterns"] == "data/*"


def test_the_record_goes_without_what_says_where_and_the_folder_keeps_it(
    built: Folder, monkeypatch: pytest.MonkeyPatch
):
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    push_dataset(built, "me/mine")
    assert json.loads(hub.files["dataset.json"]) == KEPT
    assert json.loads(built.read_text("dataset.json")) == RECORD


@pytest.mark.parametrize(
    "refusal",
    [
        HfHubHTTPError(
            "403 Forbidden: no write access", response=httpx.Response(403, request=httpx.Request("POST", "https://hub"))
        ),
        OSError("no route"),
    ],
)
def test_a_refusal_of_the_hub_says_so_and_that_nothing_is_lost(
    built: Folder, monkeypatch: pytest.MonkeyPatch, refusal: Exception
):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(refusal))
    with pytest.raises(StorageError, match=r"to me/mine: .*(403|no route).* Fix: .*rerun the command to push again"):
        push_dataset(built, "me/mine")
