"""What a push leaves out: keys and tokens, hosts, folders, endpoints, and cost."""

import base64
import json
from pathlib import Path

import pyarrow as pa
import pytest

from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.run_file import RunFile
from safechain_ray.sharing.published import Cleaner, changed_texts, published_run, without_place
from safechain_ray.storage import open_folder
from tests.made_runs import by_samples
from tests.made_runs.stored import read_tree, write_tree
from tests.unit.sharing.test_push_to_folder import texts_of, write

SECRET = "sk-secret-0123456789abcdef"
TOKEN = "hf_" + "0123456789abcdefghij"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose texts and record quote a key, a token, a host, a folder and a bucket."""
    setting = by_samples.setting(samples=1)
    samples = [
        by_samples.sample(setting, 0, answer=f"Your key is {SECRET}.", response=f"<think></think> {SECRET}"),
        by_samples.sample(setting, 1, thought=f"{base64.b64encode(SECRET.encode()).decode()} in base64"),
        by_samples.sample(setting, 2, outcome="error", error=f"the hub does not know {TOKEN}", response=None),
        by_samples.sample(setting, 3, verdicts=(by_samples.testing.verdict(None, error=f"401: {SECRET}"),)),
    ]
    by_samples.write_run(tmp_path / "run", [setting], samples, [("guard", "response")])
    folder = RunFolder(open_folder(str(tmp_path / "run")))
    tree = read_tree(folder)
    tree["config"] |= {
        "output": "s3://private-bucket/run",
        "resources": {"ray_address": "head-7.inside.example:6379"},
        "model": {
            "name": "/home/someone/weights/tiny",
            "base_url": "http://inside.example/v1",
            "api_key_env": "MY_KEY",
        },
    }
    tree["identity"]["model"]["source"] = "/home/someone/weights/tiny"
    tree["datasets"]["small"]["source"] = "/home/someone/prompts.csv (config a)"
    tree["cost_dollars"] = 17.25
    tree["tries"][0] |= {"status": "failed: no route to inside.example", "live": "10.0.0.7"}
    tree["tries"][0]["pools"]["model"]["cost_microdollars"] = 17_250_000
    write_tree(folder, tree)
    return tmp_path / "run"


def test_no_known_secret_host_folder_or_cost_is_published(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    write(run, tmp_path / "published", with_restricted_prompts=True)
    said = texts_of(tmp_path / "published")
    assert "Your key is ***." in said
    for private in (SECRET, base64.b64encode(SECRET.encode()).decode()[:30], TOKEN, "inside.example", "someone"):
        assert private not in said, private
    for private in ("private-bucket", "gpu-1", "17.25", "17250000", "10.0.0.7"):
        assert private not in said, private


def test_the_published_record_is_one_of_the_same_run(run: Path) -> None:
    stored = RunFolder(open_folder(str(run))).read_run()
    assert stored is not None
    tree = published_run(stored, Cleaner(()))
    published = RunFile.model_validate(tree)
    assert published.identity.settings == stored.identity.settings
    assert (published.identity.model_name, published.finished) == ("tiny", stored.finished)
    assert tree["config"]["model"] == {"name": "tiny", "api_key_env": "MY_KEY"}
    assert tree["datasets"]["small"]["source"] == "prompts.csv (config a)"
    (attempt,) = tree["tries"]
    assert attempt["status"] == "failed"
    assert attempt["hardware"] == [{"node": "node-1", "cpus": 8.0, "gpus": 1, "memory_gigabytes": 64.0}]
    assert attempt["versions"] == {"python": "3.11.7", "vllm": "0.32.0"}


def test_a_record_without_a_config_is_published(tmp_path: Path) -> None:
    record = {"identity": {"model": {"name": "m"}}}
    assert json.loads(json.dumps(published_run(RunFile.model_validate(record), Cleaner(()))))["config"] == {}


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("/home/me/prompts.csv", "prompts.csv"),
        ("~/weights/r1/", "r1"),
        ("s3://bucket/sets/a.parquet", "a.parquet"),
        ("./sets/a.jsonl", "a.jsonl"),
        ("~alice/sets/a.csv", "a.csv"),
        ("S3://bucket/a.csv", "a.csv"),
        ("s3://bucket/sets/b.csv?endpoint_override=http://inside.example:9000", "b.csv?***"),
        ("hf://datasets/org/private/a.csv", "a.csv"),
        ("org/name", "org/name"),
        ("~5/minute", "~5/minute"),
        ("https://example.org/a.csv", "https://example.org/a.csv"),
        ("and/or", "and/or"),
        ("/", "/"),
    ],
)
def test_of_a_local_path_or_a_bucket_only_the_last_part_is_published(text: str, published: str) -> None:
    assert without_place(text) == published


def test_a_column_is_changed_text_by_text_and_keeps_its_nulls() -> None:
    column = pa.chunked_array([pa.array(["a", None, "a"]), pa.array([], pa.string()), pa.array(["b"])])
    assert changed_texts(column, str.upper).to_pylist() == ["A", None, "A", "B"]
