"""The functions before anything starts: their configs and errors. tests/engine/test_python_api.py runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import safechain_ray
from safechain_ray import Run, RunConfig, Sweep, compare, evaluate, judge, sweep
from safechain_ray.commands.sweep import sweep as sweep_module
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.commands.sweep.sweep import SweepDone
from safechain_ray.config import read_config
from safechain_ray.errors import InputError
from safechain_ray.library import functions
from safechain_ray.library.progress import shown_progress
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import open_folder
from tests.made_runs.by_samples import sample, setting, write_run

RUN = {"model": "demo-reasoner", "datasets": ["quickstart"], "judges": ["refusal-match"]}


def config_of(config: object = None, profile: str | None = None, **keys: object) -> RunConfig:
    return functions._config(RunConfig, config, profile, keys)


def test_keys_are_those_of_a_config_file():
    keys = {**RUN, "sampling": {"temperature": 0.6}}
    flags = {**RUN, "sampling.temperature": 0.6}
    assert config_of(**keys) == read_config(None, flags, ())


def test_keys_win_over_the_file_and_leave_its_other_keys(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: demo-reasoner\ndatasets: [quickstart]\njudges: [refusal-match]\n"
        "sampling: {temperature: 0.6, top_p: 0.9}\n"
        "profiles: {small: {samples: 3}}\n"
    )
    found = config_of(file, profile="small", sampling={"temperature": 0.7}, output=tmp_path / "run")
    assert (found.sampling.temperature, found.sampling.top_p, found.samples) == (0.7, 0.9, 3)
    assert found.output == str(tmp_path / "run")


def test_a_wrong_key_is_refused_before_anything_starts():
    with pytest.raises(InputError, match=r"sampels.*did you mean 'samples'") as error:
        evaluate(**RUN, sampels=3)
    assert "arguments" in str(error.value)
    assert "command line" not in str(error.value)


def test_a_missing_key_is_named_without_a_flag():
    with pytest.raises(InputError) as error:
        evaluate(model="demo-reasoner", datasets=["quickstart"])
    assert "judges: is missing" in str(error.value)
    assert "--judge" not in str(error.value)


def test_a_config_object_is_taken_whole():
    config = config_of(**RUN)
    assert config_of(config) is config
    with pytest.raises(InputError, match="give keys or a config, not both"):
        evaluate(config, samples=3)


def test_a_null_is_given_on_and_paths_in_lists_are_text(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: demo-reasoner\ndatasets: [quickstart]\njudges: [refusal-match]\nresources: {max_requests: 5}\n"
    )
    assert config_of(file).resources.max_requests == 5
    assert config_of(file, resources={"max_requests": None}).resources.max_requests is None
    phrases = {"name": "refusal-match", "phrases": tmp_path / "phrases.txt"}
    assert config_of(file, judges=[phrases]).judges[0].phrases == str(tmp_path / "phrases.txt")


def test_something_else_than_a_config_is_named():
    with pytest.raises(InputError, match=r"The config is a dict\. Fix: give a RunConfig, the path of a file, or keys"):
        evaluate({"model": "demo-reasoner"})  # type: ignore[arg-type]


def test_a_second_call_at_the_same_time_is_refused():
    """Both would redirect the output of the process, and the second one would restore the first one's log."""
    with shown_progress(False), pytest.raises(InputError, match="Another call runs in this process"):
        judge("runs/a", judges=["refusal-match"])
    with shown_progress(False):
        pass


def test_no_repr_shows_the_secrets_of_a_uri():
    folder = open_folder("s3://AKIACANARY:verysecret@bucket/runs/a?endpoint_override=localhost:1")
    for each in (Run(RunFolder(folder)), Sweep(folder.uri, {}, {}, ())):
        assert "verysecret" not in repr(each)
        assert "AKIACANARY" not in repr(each)


def test_a_sweep_gives_the_runs_that_are_done_and_why_the_others_are_not(tmp_path: Path, monkeypatch):
    """The morning after: one model is done, one failed and one was cut off by a deadline. All have samples."""
    of = setting(samples=1)
    metrics = [write_run(tmp_path / name, [of], [sample(of, 0)]) for name in ("a", "b", "c")]
    for name in ("b", "c"):
        run = json.loads((tmp_path / name / "run.json").read_text())
        (tmp_path / name / "run.json").write_text(json.dumps({**run, "finished": None}))
    models = (
        SweptModel(model="a", folder="a", status="done"),
        SweptModel(model="b", folder="b", status="failed", error="no GPU has 690 GB"),
        SweptModel(model="c", folder="c", status="queued"),
    )
    done = SweepDone(open_folder(str(tmp_path)), models, tuple(metrics))
    monkeypatch.setattr(sweep_module, "sweep", lambda *arguments: done)
    found = sweep(
        models=["demo-reasoner"], datasets=["quickstart"], judges=["refusal-match"], output="s", progress=False
    )
    assert list(found.runs) == ["a"]
    assert found.runs["a"].samples.to_arrow().num_rows == 1
    assert found.failed == {"b": "no GPU has 690 GB"}
    assert found.queued == ("c",)


def test_a_comparison_needs_a_second_side():
    with pytest.raises(InputError, match="give a second run, or `baseline`"):
        compare("runs/a")


def test_the_package_is_imported_without_its_heavy_parts():
    """`import safechain_ray` is in every worker and command."""
    script = "import safechain_ray, sys; print({'ray', 'vllm', 'pyarrow', 'pydantic'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_every_public_name_is_there_and_another_is_not():
    assert all(getattr(safechain_ray, name) is not None for name in safechain_ray.__all__)
    assert set(safechain_ray.__all__) <= set(dir(safechain_ray))
    with pytest.raises(AttributeError, match="has no attribute 'evalute'"):
        _ = safechain_ray.evalute  # type: ignore[attr-defined]
