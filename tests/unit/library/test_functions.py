"""The functions before anything starts: their configs and errors. tests/engine/test_python_api.py runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

import safechain_ray
from safechain_ray import RunConfig, compare, evaluate
from safechain_ray.config import read_config
from safechain_ray.errors import InputError
from safechain_ray.library import functions

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
