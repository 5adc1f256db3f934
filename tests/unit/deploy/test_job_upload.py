"""What `ray job submit --working-dir .` sends, and what it installs where the cluster lacks packages."""

import tomllib
import zipfile
from pathlib import Path

import pytest
import ray
from packaging.requirements import Requirement
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from tests.deployment import ROOT, read_yaml

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the checkout as Ray makes it, with .gitignore and .rayignore heeded."""
    path = tmp_path_factory.mktemp("upload") / "package.zip"
    create_package(str(ROOT), path, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    return path


def test_the_upload_is_small_and_holds_what_a_job_needs(upload: Path) -> None:
    assert upload.stat().st_size < 12 * MEGABYTE
    names = zipfile.ZipFile(upload).namelist()
    for needed in (
        "jobs/evaluate.py",
        "jobs/sweep.py",
        "safechain_ray/cli/__init__.py",
        "configs/paper/main_table.yaml",
    ):
        assert needed in names
    assert "safechain_ray/demo/models/demo-reasoner/model.safetensors" in names


def test_the_upload_leaves_out_environments_runs_history_caches_and_tests(upload: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(upload).namelist()}
    left_out = {".venv", ".venvs", "runs", ".git", "tests", "bench", "docs", "deploy", ".mypy_cache", ".hypothesis"}
    assert not top & left_out
    assert not any("__pycache__" in name for name in zipfile.ZipFile(upload).namelist())


def test_the_runtime_environment_has_the_packages_of_pyproject_but_ray() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pinned = [*project["dependencies"], *extras["gpu"], *extras["train"]]
    (rays,) = [requirement for requirement in pinned if requirement.startswith("ray[")]
    assert read_yaml("deploy/runtime_env.yaml")["pip"] == [one for one in pinned if one != rays]
    assert Requirement(rays).specifier.contains(ray.__version__)


def test_the_runtime_environment_holds_no_key() -> None:
    assert set(read_yaml("deploy/runtime_env.yaml")["env_vars"]) == {"RAY_JOB_STOP_WAIT_TIME_S"}


def test_every_job_is_a_thin_entry_point() -> None:
    for job in (ROOT / "jobs").glob("*.py"):
        assert len(job.read_text().splitlines()) < 80
