"""deploy/Dockerfile.cpu and deploy/skypilot.yaml: versions and commands of the project, and no secret."""

import re
import subprocess
import tomllib
from typing import Any

import pytest

from safechain_ray import catalog
from tests.deployment import ROOT, read_yaml
from tests.unit.test_docs import parse

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

DOCKERFILE = (ROOT / "deploy" / "Dockerfile.cpu").read_text()

TASK_FIELDS = {"name", "resources", "workdir", "envs", "secrets", "setup", "run"}
RESOURCE_FIELDS = {"accelerators", "use_spot", "disk_size", "autostop", "job_recovery"}
"""Of the task YAML of SkyPilot, as its own schema reads them."""


@pytest.fixture
def task() -> Any:
    return read_yaml("deploy/skypilot.yaml")


def test_the_image_for_cpus_has_the_pinned_torch_from_pytorchs_own_index_before_the_project() -> None:
    (pinned,) = (line for line in PROJECT["project"]["optional-dependencies"]["cpu"] if line.startswith("torch=="))
    (index,) = PROJECT["tool"]["uv"]["index"]
    torch = DOCKERFILE.index(f"{pinned}+cpu --extra-index-url {index['url']}\n")
    assert torch < DOCKERFILE.index("COPY . /src") < DOCKERFILE.index("'/src[cpu,train]'")
    assert "pip uninstall --yes torchvision torchaudio torchcodec" in DOCKERFILE


def test_the_image_for_cpus_has_a_supported_python_the_sandbox_and_no_root() -> None:
    (python,) = re.findall(r"^FROM python:(3\.\d+)-slim", DOCKERFILE, re.MULTILINE)
    assert f"Programming Language :: Python :: {python}" in PROJECT["project"]["classifiers"]
    assert re.search(r"apt-get install .* bubblewrap libnuma1", DOCKERFILE)
    assert DOCKERFILE.index("USER safechain") < DOCKERFILE.index('ENTRYPOINT ["safechain-ray"]')


def test_images_leave_out_environments_runs_history_and_tests() -> None:
    ignored = {"deploy/Dockerfile.cpu", "deploy/kuberay/Dockerfile"}
    for name in ignored:
        lines = (ROOT / f"{name}.dockerignore").read_text().splitlines()
        assert {".git", ".venv", ".venvs", "runs", "tests"} <= set(lines)


def test_the_task_of_skypilot_has_fields_of_its_schema(task: Any) -> None:
    assert set(task) == TASK_FIELDS
    assert set(task["resources"]) == RESOURCE_FIELDS
    assert task["resources"]["job_recovery"] == {"max_restarts_on_errors": 3}


def test_the_task_installs_the_extra_for_gpus_from_the_checkout_and_checks_the_driver_last(task: Any) -> None:
    install = task["setup"].index("--no-sources -e '.[gpu,train]'")
    assert install < task["setup"].index("vllm download-kernels") < task["setup"].index('device="cuda"')
    assert task["workdir"] == "."
    assert task["setup"].rstrip().endswith('torch.ones(1, device="cuda").sum().item()\'')


@pytest.mark.parametrize("part", ["setup", "run"])
def test_the_commands_of_the_task_read_as_some_of_the_shell(task: Any, part: str) -> None:
    read = subprocess.run(["bash", "-n", "-c", task[part]], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


def test_the_task_runs_a_command_that_exists_with_names_of_the_catalog(task: Any) -> None:
    from safechain_ray.cli import app

    command = task["run"].strip().splitlines()[-1]
    for name, value in task["envs"].items():
        command = command.replace(f'"${name}"', value)
    words = command.split()
    parse(app, words[1:])
    assert "$" not in command
    assert task["envs"]["MODEL"] in catalog.models()
    assert task["envs"]["DATASET"] in catalog.datasets()
    assert task["envs"]["JUDGE"] in catalog.judges()


def test_the_output_is_a_bucket_so_that_the_next_machine_resumes(task: Any) -> None:
    assert task["resources"]["use_spot"] is True
    assert task["envs"]["OUTPUT"].startswith("s3://")


def test_no_secret_has_a_value_in_the_task(task: Any) -> None:
    assert task["secrets"] == {"HF_TOKEN": None}
    assert not re.search(r"(?i)(hf_token|api_key|password)\s*=", task["setup"] + task["run"])
