"""Selection of a sandbox backend by its self-test, and the message if none works."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import safechain_ray
from safechain_ray.benchmarks.base import Problem
from safechain_ray.benchmarks.code_tests import build_completion
from safechain_ray.benchmarks.sandbox import Limits, Program, running
from safechain_ray.benchmarks.sandbox.bubblewrap import Backend, Bubblewrap, seccomp_filter
from safechain_ray.benchmarks.sandbox.running import run_in, self_test
from safechain_ray.errors import SandboxError
from tests.sandboxes import needs_sandbox

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    running.working_backend.cache_clear()
    yield
    running.working_backend.cache_clear()


def test_without_bubblewrap_nothing_is_run_and_the_fix_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match=r"No code of a model is run: .*not on PATH.* apt install bubblewrap"):
        running.require_sandbox()
    grade = build_completion().grade(
        Problem("1", "", {"prompt": "def f():\n", "entry_point": "f", "test": ""}), "    return 1"
    )
    assert grade.correct is None
    assert "not on PATH" in (grade.error or "")


def test_a_bubblewrap_that_is_refused_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    refuses = tmp_path / "bwrap"
    refuses.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo bubblewrap 0.8.0 && exit\necho 'bwrap: No permissions' >&2\nexit 1\n"
    )
    refuses.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    reason = running.why_no_sandbox() or ""
    assert "no sandbox works on this machine" in reason
    assert "could not set up the sandbox: bwrap: No permissions" in reason
    assert "docs/sandbox.md" in reason


@needs_sandbox
@as_root
def test_a_way_whose_limit_of_processes_does_not_hold_is_ruled_out():
    """Linux counts no processes of its root, in whatever namespace."""
    bubblewrap = running.find_bubblewrap()
    assert bubblewrap is not None
    fault = self_test(bubblewrap, Backend("root in a user namespace", user_namespace=True))
    assert fault == "it may start more processes than its limit"


@needs_sandbox
def test_a_bubblewrap_that_can_not_bound_a_scratch_gives_none():
    working, backend = running.working_backend()
    old = Bubblewrap(working.path, (0, 6, 1))
    assert self_test(old, backend) is None
    ran = run_in(old, backend, Program("print(1, flush=True)\nopen('file', 'w')"))[0]
    assert (ran.stdout, ran.died_of) == ("1\n", "OSError: [Errno 30] Read-only file system: 'file'")


@needs_sandbox
@as_root
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python that everybody may read")
def test_a_caller_who_is_not_root_has_the_same_sandbox():
    """With the system's Python: what of the package this takes needs no other package."""
    if sys.version_info[:2] != _version("/usr/bin/python3"):
        pytest.skip("needs a system Python of this version")
    with TemporaryDirectory() as place:  # pytest's own folders are the user's alone
        Path(place).chmod(0o755)
        said = _sandbox_of_somebody(Path(place))
    if "No code of a model is run" in said.stderr:
        pytest.skip("this kernel lets nobody but root make namespaces")
    assert said.stdout == "a user namespace\n1000 False\n\n", said.stderr


def _sandbox_of_somebody(place: Path) -> subprocess.CompletedProcess[str]:
    copy = place / "safechain_ray"
    folder = Path(safechain_ray.__file__).parent
    alone = [folder / name for name in ("__init__.py", "errors.py", "likely_keys.py")]
    for file in [*alone, *(folder / "benchmarks").rglob("*.py")]:
        target = copy / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    code = (
        f"import sys; sys.path.insert(0, {str(place)!r})\n"
        + """
from safechain_ray.benchmarks.sandbox import run
from safechain_ray.benchmarks.sandbox.running import working_backend
print(working_backend()[1].name)
print(run("import os; print(os.getuid(), os.path.exists('/root'))").stdout)
"""
    )
    return subprocess.run(
        ["/usr/bin/python3", "-B", "-c", code],
        user=1234,
        group=1234,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )


def _version(python: str) -> tuple[int, ...]:
    said = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, check=True)
    return tuple(map(int, said.stdout.split()))


def test_the_filter_is_made_for_each_listed_machine_and_refused_for_others():
    lengths = {machine: len(seccomp_filter(machine)) for machine in ("x86_64", "aarch64")}
    assert all(length % 8 == 0 and length > 600 for length in lengths.values())
    with pytest.raises(SandboxError, match="no list of system calls for riscv64"):
        seccomp_filter("riscv64")


def test_limits_of_time_leave_a_slow_machine_room():
    assert Limits().wall_seconds >= 3 * Limits().processor_seconds
