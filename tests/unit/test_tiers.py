"""The tiers of the tests: markers by folder, the guard on fast tests, and modules that processes share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiers import SHARED, claim, claim_of, folder_marker, pytest_ignore_collect

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("path", "marker"),
    [
        ("engine/test_a.py", "engine"),
        ("cluster/deeper/test_a.py", "cluster"),
        ("browser/test_a.py", "browser"),
        ("unit/test_a.py", None),
        ("unit/cluster/test_a.py", None),
        ("../elsewhere/engine/test_a.py", None),
    ],
)
def test_the_folder_of_a_test_gives_its_marker(path: str, marker: str | None):
    assert folder_marker(Path(os.path.normpath(f"/tests/{path}")), Path("/tests")) == marker


MODULE = """
import sys, types
import pytest
def test_plain(): pass
def test_imports(): import {module}
def test_after_it(): import {module}
def test_stands_in(monkeypatch): monkeypatch.setitem(sys.modules, "{module}", types.ModuleType("{module}"))
@pytest.mark.slow
def test_slow(): import {module}
"""


def run_pytest(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """pytest with the hooks of the tiers, in a folder of its own."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n fast\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.tiers", "-p", "no:cacheprovider", "-v", *arguments, "."]
    paths = os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")])
    inherited = {name: value for name, value in os.environ.items() if name not in (SHARED, "PYTEST_ADDOPTS")}
    environment = {**inherited, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def results(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    lines = (line.split() for line in done.stdout.splitlines() if "::" in line and "%]" in line)
    return {line[0].partition("::")[2]: line[1] for line in lines}


@pytest.fixture
def with_fake_vllm(tmp_path: Path) -> Path:
    (tmp_path / "vllm.py").write_text("")
    return tmp_path


@pytest.mark.slow
def test_a_fast_test_that_imports_vllm_fails_and_a_slow_one_may(with_fake_vllm: Path):
    (with_fake_vllm / "test_it.py").write_text(MODULE.format(module="vllm"))
    done = run_pytest(with_fake_vllm)
    failed = {name for name, result in results(done).items() if result == "FAILED"}
    assert failed == {"test_imports"}, done.stdout
    assert "a fast test started vllm. Fix: " in done.stdout


@pytest.mark.slow
def test_fast_tests_whose_module_imports_vllm_are_refused_alone(with_fake_vllm: Path):
    (with_fake_vllm / "test_it.py").write_text(
        "import pytest, vllm\ndef test_one(): pass\n@pytest.mark.slow\ndef test_two(): pass\n"
    )
    refused = run_pytest(with_fake_vllm, "-m", "fast")
    assert refused.returncode != 0
    assert "the modules of the fast tests import vllm" in refused.stdout + refused.stderr
    assert run_pytest(with_fake_vllm).returncode == 0


# The first module does what another process would do at that moment: it claims the second one, in the same folder.
CLAIMS_THE_SECOND = """
from pathlib import Path
from tests.tiers import claim_of
def test_one_a(): claim_of(Path(__file__).with_name("test_two.py")).write_text("1")
def test_one_b(): pass
"""


@pytest.mark.slow
def test_each_module_runs_in_the_process_that_claims_it_first(tmp_path: Path):
    claims, tests = tmp_path / "claims", tmp_path / "tests"
    for folder in (claims, tests / "a", tests / "b"):
        folder.mkdir(parents=True)
    (tests / "a" / "test_one.py").write_text(CLAIMS_THE_SECOND)
    (tests / "a" / "test_two.py").write_text("def test_two(): pass\n")
    (tests / "b" / "test_three.py").write_text("def test_three(): pass\n")

    first = run_pytest(tests, **{SHARED: str(claims)})
    second = run_pytest(tests, **{SHARED: str(claims)})

    assert results(first) == dict.fromkeys(("test_one_a", "test_one_b", "test_three"), "PASSED"), first.stdout
    assert (first.returncode, second.returncode) == (0, 5), second.stdout


def test_a_module_is_claimed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = tmp_path / "test_it.py"
    monkeypatch.delenv(SHARED, raising=False)
    assert claim(module)
    monkeypatch.setenv(SHARED, str(tmp_path))
    assert pytest_ignore_collect(module) is None
    assert [claim(module), claim(module)] == [True, True]
    assert pytest_ignore_collect(module)
    file = claim_of(module)
    assert file is not None
    file.write_text(str(os.getpid() + 1))
    assert not claim(module)
