"""A stand-in for NVML's Python module, with the GPUs that a test asks for: this project's CI has no GPU."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

GIB = 2**30


@dataclass
class PretendedGpu:
    """`slices`: sizes of MIG slices in bytes. `memory` of None is not reported, as where GPU and CPU share it."""

    memory: int | None = 80 * GIB
    used: int = 0
    capability: tuple[int, int] = (9, 0)
    name: str = "NVIDIA H100 80GB HBM3"
    uuid: str = "GPU-0"
    has_mig: bool = True
    slices: Sequence[int] = ()
    processes: dict[int, int | None] = field(default_factory=dict)


@dataclass
class PretendedNvml:
    """The functions of `pynvml` that the project calls. `starts` of False is a machine without a driver."""

    gpus: Sequence[PretendedGpu] = ()
    driver: str = "580.95.05"
    starts: bool = True
    names: dict[int, str] = field(default_factory=dict)
    opened: int = 0

    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        """As NVML's own: the base of all its errors."""

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.starts:
            raise self.NVMLError("NVML Shared Library Not Found")
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self.driver

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> PretendedGpu:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetCudaComputeCapability(self, gpu: PretendedGpu) -> tuple[int, int]:  # noqa: N802
        return gpu.capability

    def nvmlDeviceGetUUID(self, gpu: PretendedGpu) -> str:  # noqa: N802
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu: PretendedGpu) -> str:  # noqa: N802
        return gpu.name

    def nvmlDeviceGetMemoryInfo(self, gpu: PretendedGpu) -> SimpleNamespace:  # noqa: N802
        if gpu.memory is None:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total=gpu.memory, used=gpu.used, free=gpu.memory - gpu.used)

    def nvmlDeviceGetMigMode(self, gpu: PretendedGpu) -> tuple[int, int]:  # noqa: N802
        if not gpu.has_mig:
            raise self.NVMLError("Not Supported")
        mode = int(bool(gpu.slices))
        return mode, mode

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: PretendedGpu) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: PretendedGpu, place: int) -> PretendedGpu:  # noqa: N802
        if place >= len(gpu.slices):
            raise self.NVMLError("Not Found")
        return PretendedGpu(gpu.slices[place], 0, gpu.capability, f"{gpu.name} MIG", f"MIG-{place}")

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: PretendedGpu) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in gpu.processes.items()]

    def nvmlSystemGetProcessName(self, pid: int) -> str:  # noqa: N802
        if pid not in self.names:
            raise self.NVMLError("Not Found")
        return self.names[pid]
