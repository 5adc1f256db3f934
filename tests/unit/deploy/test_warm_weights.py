"""What deploy/warm_weights.py fetches, and that what it leaves in a bucket is found without a hub."""

import json
import runpy
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from click.testing import CliRunner, Result

from safechain_ray.catalog import judges, models
from safechain_ray.engines.weights import is_hub_id
from tests.deployment import ROOT

MAIN_TABLE = ROOT / "configs" / "paper" / "main_table.yaml"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    calls: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda source, **how: calls.append((source, how)))
    return calls


def warm(*arguments: str) -> Result:
    command = runpy.run_path(str(ROOT / "deploy" / "warm_weights.py"))["warm_weights"]
    return CliRunner().invoke(command, list(arguments))


def test_every_model_and_judge_with_weights_is_fetched_once_at_the_catalogs_revision(
    fetched: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    done = warm("--config", str(MAIN_TABLE), "--to", str(tmp_path))
    assert done.exit_code == 0, done.output
    sources = {source: how["revision"] for source, how in fetched}
    assert len(sources) == len(fetched) == 10  # nine models that are no APIs, and the judge
    assert sources[models()["R1-7B"].source] == models()["R1-7B"].revision
    guard = judges()["llama-guard-3-8b"].engine
    assert guard is not None
    assert sources[guard.source] == guard.revision
    assert {how["cache_dir"] for _, how in fetched} == {tmp_path / "hub"}
    assert "10 models, about" in done.output


def test_a_dry_run_fetches_nothing(fetched: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    done = warm("--config", str(MAIN_TABLE), "--to", str(tmp_path), "--dry-run")
    assert "deepseek-ai/DeepSeek-R1-Distill-Llama-70B" in done.output
    assert fetched == []


def test_the_models_of_the_package_need_no_fetching(fetched: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    done = warm("--config", str(ROOT / "configs" / "quickstart.yaml"), "--to", str(tmp_path))
    assert "0 models" in done.output
    assert fetched == []


def test_a_config_that_can_not_be_read_ends_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("model: no-such-model\ndatasets: [quickstart]\njudges: [refusal-match]\n")
    done = warm("--config", str(tmp_path / "broken.yaml"), "--to", str(tmp_path))
    assert done.exit_code == 1
    assert "Unknown model 'no-such-model'" in done.output


@pytest.mark.parametrize("revision", ["7f" * 20, None])
def test_a_folder_without_blobs_is_found_without_a_hub(tmp_path: Path, revision: str | None) -> None:
    """The layout that a mounted bucket has: snapshots of plain files, and a name for the newest."""
    commit = revision or "9a" * 20
    cache = tmp_path / "hub" / "models--org--model"
    (cache / "snapshots" / commit).mkdir(parents=True)
    (cache / "snapshots" / commit / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    found = huggingface_hub.snapshot_download(
        "org/model", revision=revision, cache_dir=tmp_path / "hub", local_files_only=True
    )
    assert Path(found) == cache / "snapshots" / commit


@pytest.mark.parametrize("source", ["s3://bucket/r1-7b", "gs://bucket/r1-7b", "file:///models/r1-7b", "~/models/r1-7b"])
def test_uris_and_folders_are_no_ids_of_the_hub(source: str) -> None:
    assert not is_hub_id(source)


def test_an_id_of_the_hub_is_one() -> None:
    assert is_hub_id("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
