"""`safechain-ray build-dataset`: what it prints and leaves, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from safechain_ray.commands import training_set_folder
from tests.made_runs.by_draw import answered, build_config, prompt_file

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")


def call(folder: Path, *more: str, **flags: str) -> Result:
    usual = {
        "model": "demo-reasoner",
        "prompts": str(prompt_file(folder)),
        "id-column": "id",
        "kind-column": "kind",
        "number": "20",
        "samples": "3",
        "judge": "demo-guard",
        "output": str(folder / "set"),
    }
    arguments = [word for flag, value in (usual | flags).items() for word in (f"--{flag}", value)]
    return CliRunner().invoke(app, ["build-dataset", *arguments, *more])


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    answered(build_config(tmp_path))
    return tmp_path


def test_it_prints_the_steps_and_leaves_rows_card_and_record(ready: Path):
    result = call(ready)
    assert result.exit_code == 0, result.output
    assert "20 rows" in result.stdout
    assert "not drawn" in result.stdout
    assert {path.name for path in (ready / "set").iterdir()} == {"data", "run", "dataset.json", "README.md"}


def test_json_holds_the_facts_of_the_record(ready: Path):
    reported = json.loads(call(ready, "--json").stdout)
    record = json.loads((ready / "set/dataset.json").read_text())
    assert reported == {key: record[key] for key in reported}
    assert reported["rows"] == 20


def test_fewer_rows_than_asked_for_end_with_3_and_what_to_do(ready: Path):
    result = call(ready, rows="25")
    assert result.exit_code == 3
    assert "5 rows of 25 are missing. Fix: draw more prompts" in result.stdout


def test_a_config_file_holds_the_same_keys_and_flags_win(ready: Path):
    config = ready / "set.yaml"
    config.write_text("rule: best\nrows: 4\nsampling: {temperature: 0.6, top_p: 0.95}\n")
    result = call(ready, "--config", str(config), "--json", rows="3")
    assert json.loads(result.stdout)["rows"] == 3
    assert json.loads(result.stdout)["rule"] == "best"


@pytest.mark.parametrize(
    ("flags", "more", "says"),
    [
        ({"kind-column": "kid"}, (), "has no column 'kid'. Did you mean 'kind'?"),
        ({"rule": "most"}, (), "rule: must be 'all', 'majority' or 'best' (found 'most')"),
        ({"rows": "0"}, (), "rows: must be at least 1"),
        ({"number": "0"}, (), "prompts.number: must be at least 1"),
        ({"samples": "0"}, (), "samples: must be at least 1"),
        ({"temperature": "0"}, (), "set a temperature above 0, or samples: 1"),
        ({"judge": "demo-gard"}, (), "Did you mean 'demo-guard'?"),
        ({"prompts": "wildjailbreak-trian"}, (), "Did you mean 'wildjailbreak-train'?"),
        ({"similarity": "1.5"}, (), "similarity: must be at most 1"),
        ({"push-to-hub": "mine"}, (), "push_to_hub: must be OWNER/NAME"),
        ({"part": "thoughts"}, (), "part: must be 'response', 'thought' or 'answer'"),
        ({}, ("--judge", "demo-guard"), "judges names demo-guard more than once"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(
    tmp_path: Path, flags: dict[str, str], more: tuple[str, ...], says: str
):
    result = call(tmp_path, *more, **flags)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert not (tmp_path / "set").exists()


def test_a_push_without_a_token_is_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    result = call(tmp_path, **{"push-to-hub": "me/mine", "prompts": "no-such.csv"})
    assert result.exit_code == 2
    assert "there is no token. Fix: set HF_TOKEN" in result.stderr


def test_what_is_pushed_is_named(ready: Path, monkeypatch: pytest.MonkeyPatch):
    pushed: list[Any] = []
    monkeypatch.setattr(training_set_folder, "check_token", lambda: None)
    monkeypatch.setattr(
        training_set_folder, "push_dataset", lambda *arguments: pushed.append(arguments) or "https://hub/me/mine"
    )
    result = call(ready, **{"push-to-hub": "me/mine"})
    assert result.exit_code == 0, result.output
    assert "On the hub: https://hub/me/mine" in result.stdout
    assert [repository for _, repository in pushed] == ["me/mine"]
