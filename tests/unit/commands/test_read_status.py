"""Reading how far a run or a sweep is: one look at its folder, which stays as it was, without Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.commands.status import read_status
from safechain_ray.errors import InputError
from tests.made_runs.by_config import finished_run
from tests.unit.commands.run_records import live, one_try, record


def write(folder: Path, content: Any, name: str = "run.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_read_as_the_pipeline_left_it_and_is_left_so(tmp_path: Path):
    finished_run(tmp_path)
    before = files(tmp_path)
    found = read_status(str(tmp_path))
    assert files(tmp_path) == before
    (model,) = found.models
    assert (found.kind, model.name, model.state, model.rows, model.total) == ("run", "demo-reasoner", "done", 180, 180)
    assert model.counts["ok"] == 180


def test_the_models_of_a_sweep_come_in_its_order_with_their_own_runs(tmp_path: Path):
    models: list[dict[str, Any]] = [
        {"model": "R1-70B", "folder": "R1-70B", "status": "running", "tries": 1},
        {"model": "R1-7B", "folder": "of-another-name", "status": "running", "tries": 1},
        {"model": "R1-8B", "folder": "R1-8B", "status": "queued"},
        {"model": "QwQ", "folder": "QwQ", "status": "failed", "error": "no GPU is large enough", "tries": 2},
    ]
    write(tmp_path, {"models": models}, "sweep.json")
    write(tmp_path / "of-another-name", record(one_try(live=live()), updated="2999-01-01T00:00:00+00:00"))
    found = read_status(str(tmp_path))
    assert found.kind == "sweep"
    assert [(model.name, model.state, model.rows) for model in found.models] == [
        ("R1-70B", "starting", None),
        ("R1-7B", "running", 400),
        ("R1-8B", "queued", None),
        ("QwQ", "failed", None),
    ]
    assert (found.models[3].attempts, found.models[3].last_error) == (2, "no GPU is large enough")
    assert not found.is_over


def test_a_damaged_run_of_a_sweep_is_told_and_hides_no_other(tmp_path: Path):
    write(tmp_path, {"models": [{"model": "A", "status": "running"}, {"model": "B", "status": "done"}]}, "sweep.json")
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "run.json").write_text('{"identity"')
    found = read_status(str(tmp_path))
    assert [model.state for model in found.models] == ["starting", "done"]
    assert found.models[0].last_error is not None
    assert "A/run.json is no valid JSON" in found.models[0].last_error


def test_a_pipe_in_place_of_a_models_record_hides_no_other_model(tmp_path: Path):
    models = [{"model": "A", "status": "done", "error": None}, {"model": "B", "status": "done"}]
    write(tmp_path, {"models": models}, "sweep.json")
    (tmp_path / "A").mkdir()
    os.mkfifo(tmp_path / "A" / "run.json")
    found = read_status(str(tmp_path))
    assert [model.name for model in found.models] == ["A", "B"]
    assert found.models[0].last_error is not None
    assert "A/run.json" in found.models[0].last_error


def test_an_unknown_key_of_a_later_version_is_passed_over(tmp_path: Path):
    write(
        tmp_path,
        {"models": [{"model": "A", "status": "done", "lease": {"until": 1}}], "deadline": "07:00"},
        "sweep.json",
    )
    assert read_status(str(tmp_path)).models[0].state == "done"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (None, None, "holds no run and no sweep. Fix: give the folder that --output named."),
        ("run.json", "[]", "run.json is no record of a run: must be keys and values"),
        ("run.json", "{", "run.json is no valid JSON"),
        ("run.json", "{}", "run.json is no record of a run: identity: is missing"),
        (
            "run.json",
            '{"identity": {"model": {"name": "m"}}, "updated": "noon"}',
            "run.json is no record of a run: updated: Invalid isoformat string",
        ),
        ("sweep.json", '{"models": [{}]}', "sweep.json is no record of a sweep: models.0.model: is missing"),
        ("sweep.json", '{"models": ["R1-7B"]}', "sweep.json is no record of a sweep: models.0"),
    ],
)
def test_a_folder_of_something_else_is_refused_with_its_place(tmp_path: Path, name: str, content: str, says: str):
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as refused:
        read_status(str(tmp_path))
    assert says in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_reading_a_status_imports_neither_ray_nor_an_engine():
    heavy = "[name for name in ('ray', 'vllm', 'torch', 'transformers') if name in sys.modules]"
    code = f"import sys, safechain_ray.cli, safechain_ray.cli.status; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
