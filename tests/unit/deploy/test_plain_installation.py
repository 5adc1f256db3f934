"""Without the extras, and on macOS: what imports, and that no Linux-only name is used where a laptop comes by."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import safechain_ray
from safechain_ray.engines.vllm_environment import package_mismatch
from safechain_ray.limited_process import LimitedProcess, LimitExceededError
from tests.deployment import ROOT

PACKAGE = Path(safechain_ray.__file__).parent

HIDING = ROOT / "tests" / "plain_installation"
"""Python starts without the packages of the extras where this folder is on PYTHONPATH."""

NEEDS_A_CLOUD = ("cluster.spot.aws", "cluster.spot.gcp")
"""The head of a cluster imports them, and has the client of its cloud."""

NEEDS_AN_EXTRA = {
    *(f"storage.{name}" for name in ("azure", "azure_errors", "azure_files")),
    *(f"training.{name}" for name in ("disk_errors", "shard_pickles", "trainer")),
    *(f"trackers.{name}" for name in ("mlflow", "tensorboard", "wandb")),
    *(f"sharing.{name}" for name in ("export", "inspect_log", "inspect_samples")),
}
"""Commands import these after they have found the packages of the extra, or have named it."""

LINUX_ONLY = {
    "os": {
        *("sched_getaffinity", "sched_setaffinity", "memfd_create", "posix_fadvise", "fdatasync", "pipe2", "eventfd"),
        *("pidfd_open", "setns", "unshare", "copy_file_range", "splice", "getrandom", "O_TMPFILE", "O_DIRECT"),
    },
    "select": {"epoll"},
    "signal": {"pidfd_send_signal", "SIGRTMIN", "SIGPWR"},
    "socket": {"AF_NETLINK", "AF_PACKET", "SO_PEERCRED"},
    "resource": {"prlimit", "RLIMIT_AS", "RUSAGE_THREAD"},
    "time": {"CLOCK_BOOTTIME", "pthread_getcpuclockid"},
}
"""Names of the standard library that macOS lacks, and a limit that it refuses."""

LINUX_FILES = {
    "benchmarks/sandbox": "bubblewrap is a program of Linux, and a sandbox starts only where it works",
    "cluster/local_disks.py": "a script for cluster nodes",
    "limited_process/child.py": "the limit of macOS is another one there",
}


def files() -> list[Path]:
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def linux_only_names(source: str) -> set[str]:
    """`module.name` of each attribute in the source that only Linux has."""
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute))
    named = {(node.value.id, node.attr) for node in found if isinstance(node.value, ast.Name)}
    return {f"{module}.{name}" for module, name in named if name in LINUX_ONLY.get(module, ())}


def test_a_name_of_linux_is_found() -> None:
    assert linux_only_names("import time\ndef now():\n    return time.clock_gettime(time.CLOCK_BOOTTIME)") == {
        "time.CLOCK_BOOTTIME"
    }


@pytest.mark.parametrize("file", files(), ids=str)
def test_no_file_that_a_laptop_uses_has_a_name_that_only_linux_has(file: Path) -> None:
    if not any(file.is_relative_to(home) for home in LINUX_FILES):
        assert linux_only_names((PACKAGE / file).read_text()) == set()


IMPORT_ALL = """
import importlib, sys
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        failed[name] = error.name
assert not {"torch", "vllm"} & set(sys.modules), "an import brought an engine"
print(failed)
"""


@pytest.mark.slow
def test_without_the_extras_every_module_imports_but_those_of_an_extra() -> None:
    names = [".".join(["safechain_ray", *file.with_suffix("").parts]).removesuffix(".__init__") for file in files()]
    wanted = [name for name in names if not name.endswith(("__main__", "sandbox.launcher", *NEEDS_A_CLOUD))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HIDING), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *wanted], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {name.removeprefix("safechain_ray.") for name in ast.literal_eval(done.stdout)} == NEEDS_AN_EXTRA


def test_on_macos_the_fix_for_a_missing_vllm_is_an_api_and_no_extra() -> None:
    mismatch = package_mismatch("cpu", "none", system="darwin")
    assert mismatch is not None
    assert "vLLM has packages for Linux only. Fix: use a model and judges behind an API or rules here" in mismatch
    assert "pip install 'safechain-ray[cpu]'" in str(package_mismatch("cpu", "none", system="linux"))


def test_on_macos_a_child_is_bounded_by_its_resident_memory(tmp_path: Path) -> None:
    """macOS refuses a limit of the address space."""
    (tmp_path / "sitecustomize.py").write_text("import sys, psutil\nsys.platform = 'darwin'\n")
    (tmp_path / "worker.py").write_text(
        "import time\ndef answer(size):\n    kept = bytearray(size)\n    time.sleep(5 * (size > 0))\n    return size\n"
    )
    child = LimitedProcess(
        tmp_path / "worker.py", processor_seconds=9, memory=100 * 2**20, environment={"PYTHONPATH": str(tmp_path)}
    )
    assert child.ask(0) == 0
    with pytest.raises(LimitExceededError, match="ended its process with exit code 1"):
        child.ask(200 * 2**20)
    child.close()
