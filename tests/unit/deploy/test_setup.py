"""`scripts/setup` on a GPU machine, with a pretended Python: what it installs, and what it checks at its end."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment import ROOT

PYTHON = """#!/bin/sh
case "$*" in
  *"-m venv"*)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    printf '#!/bin/sh\\necho "table of the doctor"\\nexit $DOCTOR\\n' > "$3/bin/safechain-ray"
    chmod +x "$3/bin/safechain-ray" ;;
  *"-m pip"*) echo "$*" >> installed ;;
  *tomllib*) echo torch==2.13.0+cpu ;;
  *ensurepip*) echo 3.11.7 ;;
  *_base_executable*) echo "$0" ;;
  *platform*) echo "Python 3.11.7, torch 2.13.0" ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a Python that only notes what it is asked to install."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", tmp_path / "scripts" / "setup")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def set_up(tree: Path, doctor: int, gpus: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
    """Setup for GPUs, on a machine that has some or none; the doctor ends with the exit code `doctor`."""
    nvidia_smi = tree / "bin" / "nvidia-smi"
    nvidia_smi.parent.mkdir(exist_ok=True)
    nvidia_smi.write_text(f"#!/bin/sh\n{'echo GPU 0: NVIDIA L4' if gpus else 'exit 9'}\n")
    nvidia_smi.chmod(0o755)
    environment = {
        "PATH": f"{nvidia_smi.parent}:/usr/bin:/bin",
        "EXTRA": "gpu",
        "PYTHON": str(tree / "python"),
        "DOCTOR": str(doctor),
        **settings,
    }
    return subprocess.run(
        [str(tree / "scripts" / "setup")], env=environment, capture_output=True, text=True, check=False
    )


def test_a_gpu_machine_is_ready_when_the_doctor_finds_no_fault(tree: Path):
    done = set_up(tree, doctor=0)

    assert done.returncode == 0, done.stderr
    assert "table of the doctor" in done.stdout
    assert "ready (gpu)" in done.stdout
    assert ".[gpu,train,dev]" in (tree / "installed").read_text()
    assert set_up(tree, doctor=1).stdout == ""  # up to date: nothing is checked again


def test_a_gpu_machine_is_not_ready_with_a_check_that_failed(tree: Path):
    failed = set_up(tree, doctor=1)

    assert failed.returncode == 1
    assert "table of the doctor" in failed.stdout
    assert "a check failed. Fix: follow the fix in the table, then run this again." in failed.stderr
    assert "ready" not in failed.stdout
    assert set_up(tree, doctor=0).returncode == 0


def test_a_login_node_without_a_gpu_is_set_up_for_nodes_that_have_some(tree: Path):
    done = set_up(tree, doctor=1, gpus=False)

    assert done.returncode == 0, done.stderr
    assert "no GPU here: run '.venv/bin/safechain-ray doctor' on a GPU node" in done.stdout
    assert "table of the doctor" not in done.stdout


def add_uv(tree: Path, exit_code: int) -> None:
    """A uv on PATH that notes its arguments."""
    (tree / "bin").mkdir(exist_ok=True)
    (tree / "bin" / "uv").write_text(f'#!/bin/sh\necho "$*" >> uv_arguments\nexit {exit_code}\n')
    (tree / "bin" / "uv").chmod(0o755)


def test_uv_installs_the_project_where_it_is_on_path(tree: Path):
    add_uv(tree, exit_code=0)
    done = set_up(tree, doctor=0, EXTRA="cpu", SETUP_PINS="ray==2.58")

    assert done.returncode == 0, done.stderr
    (arguments,) = (tree / "uv_arguments").read_text().splitlines()
    assert arguments.startswith("pip install --python .venv/bin/python --no-sources")
    assert arguments.endswith("-e .[cpu,train,dev] ray==2.58")
    with_pip = (tree / "installed").read_text()
    assert "torch==2.13.0+cpu" in with_pip  # before uv: it can't take the build for CUDA by mistake
    assert ".[cpu,train,dev]" not in with_pip


def test_pip_installs_what_uv_could_not_find(tree: Path):
    add_uv(tree, exit_code=2)
    done = set_up(tree, doctor=0)

    assert done.returncode == 0, done.stderr
    assert "uv could not install it (see .venv/setup.log); installing it with pip" in done.stdout
    assert ".[gpu,train,dev]" in (tree / "installed").read_text()


@pytest.mark.parametrize("minor", [10, 15])
def test_a_python_that_is_too_old_or_too_new_is_refused(tree: Path, minor: int):
    (tree / "python").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, {minor}, 0)\n$2"\n'
    )
    refused = set_up(tree, doctor=0)
    assert refused.returncode == 1
    assert "is not a working Python 3.11 to 3.14 with the venv module" in refused.stderr


def test_another_system_than_linux_is_sent_to_the_installation_without_vllm(tree: Path):
    (tree / "bin").mkdir()
    (tree / "bin" / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tree / "bin" / "uname").chmod(0o755)
    refused = set_up(tree, doctor=0)
    assert refused.returncode == 1
    assert "for models behind an API: pip install . (docs/laptop.md)" in refused.stderr


def test_another_environment_gets_the_versions_that_it_is_pinned_to(tree: Path):
    oldest = {"SETUP_VENV": ".venvs/oldest", "SETUP_PINS": "ray==2.58 vllm==0.25.1"}
    done = set_up(tree, doctor=0, **oldest)

    assert done.returncode == 0, done.stderr
    assert (tree / ".venvs" / "oldest" / "bin" / "python").exists()
    assert not (tree / ".venv").exists()
    assert "-e .[gpu,train,dev] ray==2.58 vllm==0.25.1\n" in (tree / "installed").read_text()
    assert set_up(tree, doctor=0, **oldest).stdout == ""
    assert "ready" in set_up(tree, doctor=0, **{**oldest, "SETUP_PINS": "ray==2.59"}).stdout  # other pins: set up again
