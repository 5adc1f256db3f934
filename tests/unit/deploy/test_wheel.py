"""The wheel and the source distribution: what is inside, how large they are, and that the wheel works by itself."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.specifiers import SpecifierSet

import safechain_ray
from tests.deployment import ROOT

MEGABYTE = 10**6

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> dict[str, list[str]]:
    """The fields of METADATA, each with all its values."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        fields = Parser().parsestr(archive.read(name).decode())
    return {key: [str(value) for value in fields.get_all(key, [])] for key in fields}


def files_of(folder: str) -> set[str]:
    """All files below a folder of the checkout, but for what Python and tools leave there."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


def test_the_wheel_has_the_package_with_configs_and_jobs_inside_it_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert len(names) == len(set(names))
    inside = files_of("configs") | files_of("jobs")
    assert set(names) == files_of("safechain_ray") | {f"safechain_ray/{name}" for name in inside}
    for needed in (
        "safechain_ray/catalog/models.yaml",
        "safechain_ray/configs/paper/main_table.yaml",
        "safechain_ray/configs/run.schema.json",
        "safechain_ray/datasets/data/quickstart.csv",
        "safechain_ray/demo/models/demo-reasoner/model.safetensors",
        "safechain_ray/jobs/sweep.py",
        "safechain_ray/py.typed",
        "safechain_ray/report/html/report.css",
    ):
        assert needed in names


def test_the_wheel_is_for_any_system_and_small(wheel: Path) -> None:
    assert wheel.name == f"safechain_ray-{safechain_ray.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 8 * MEGABYTE


def test_the_metadata_has_what_an_index_shows(metadata: dict[str, list[str]]) -> None:
    assert metadata["Name"] == ["safechain-ray"]
    assert metadata["License-Expression"] == ["Apache-2.0"]
    assert metadata["License-File"] == ["LICENSE"]
    assert metadata["Project-URL"] == ["Paper, https://arxiv.org/abs/2502.12025"]
    assert "large reasoning models" in metadata["Keywords"][0]
    assert metadata["Description-Content-Type"] == ["text/markdown"]


def test_the_classifiers_name_the_supported_versions_of_python(metadata: dict[str, list[str]]) -> None:
    named = {each.rpartition(" ")[2] for each in metadata["Classifier"] if ":: 3." in each}
    supported = SpecifierSet(metadata["Requires-Python"][0])
    assert named == {f"3.{minor}" for minor in range(30) if supported.contains(f"3.{minor}.5")}


def test_a_plain_installation_needs_no_engine_and_no_torch(metadata: dict[str, list[str]]) -> None:
    plain = [line for line in metadata["Requires-Dist"] if "extra ==" not in line]
    assert not [line for line in plain if line.startswith(("torch", "vllm", "trl", "accelerate"))]
    assert {"azure", "cpu", "gpu", "inspect", "train", "dev"} == set(metadata["Provides-Extra"])


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (built,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    assert {"cluster.yaml", "deploy", "docs", "jobs", "LICENSE", "README.md"} <= {path.name for path in root.iterdir()}
    (again,) = WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())


def test_an_editable_install_adds_the_checkout_to_the_path(tmp_path: Path) -> None:
    """`make setup` installs the project this way: without it nothing can be set up."""
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"])
    with zipfile.ZipFile(built) as archive:
        (added,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith(".pth"))
    assert added.splitlines() == [str(ROOT)]


@pytest.mark.slow
def test_the_wheel_finds_its_configs_and_runs_its_job_scripts_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site-packages")
    empty = tmp_path / "empty"
    empty.mkdir()
    packages = tmp_path / "site-packages"
    shown = run_python(packages, empty, "-m", "safechain_ray", "config", "show", "--config", "quickstart")
    assert "name: demo-reasoner" in shown
    assert list(empty.iterdir()) == []
    script = str(packages / "safechain_ray" / "jobs" / "sweep.py")
    assert "--deadline" in run_python(packages, empty, script, "--help")


def run_python(packages: Path, folder: Path, *arguments: str) -> str:
    """The output of Python in `folder`, with `packages` first on its path."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
