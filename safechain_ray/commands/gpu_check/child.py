"""The process of one step of the GPU check: `python -m … STEP MODULE FUNCTION DEVICE SCRATCH FINDINGS`."""

import sys
from importlib import import_module
from pathlib import Path

from safechain_ray.commands.doctor.finding import Subject
from safechain_ray.commands.gpu_check.check import Scene, write_finding
from safechain_ray.engines.start import Device
from safechain_ray.errors import SafechainError


def main(name: str, module: str, function: str, device: Device, scratch: str, findings: str) -> None:
    """Write each finding immediately. An error of this project is a finding, any other error ends the process."""
    check = getattr(import_module(module), function)
    try:
        for finding in check(Scene(device, Path(scratch))):
            write_finding(Path(findings), finding)
    except SafechainError as error:
        write_finding(Path(findings), Subject(name).failed("error", str(error), "see the message"))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
