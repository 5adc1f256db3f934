"""Where a step of the GPU check runs, and how it reports."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from safechain_ray.commands.doctor.finding import Finding
from safechain_ray.engines.start import Device

SMALL_SHARE = 0.2
"""Of a GPU for an engine of a demo model. vLLM keeps a Python object for each block of KV cache: the whole memory of an
80 GB GPU would be a million of them for so small a model."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The device under test and a scratch folder that lasts for the whole check."""

    device: Device
    scratch: Path

    @property
    def small_share(self) -> float | None:
        """The share of the GPU's memory for an engine of a demo model; None on CPUs."""
        return SMALL_SHARE if self.device == "cuda" else None

    def log(self, name: str) -> Path:
        """The log of an engine."""
        return self.scratch / f"{name}.log"


def write_finding(file: Path, finding: Finding) -> None:
    """Append a finding; a step that is killed later has reported it."""
    with file.open("a", encoding="utf-8") as findings:
        findings.write(json.dumps(asdict(finding)) + "\n")


def read_findings(file: Path) -> Iterator[Finding]:
    """The findings of a step, without a line that was cut off."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    yield from (Finding(**json.loads(line)) for line in lines if line.endswith("\n"))


def share_of(equal: int, total: int) -> str:
    return f"{equal} of {total}"
