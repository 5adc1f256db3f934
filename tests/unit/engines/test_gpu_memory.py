"""Waiting for GPU memory that a predecessor gives back, on pretended GPUs."""

import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safechain_ray.engines.gpus import GpuReport, failed_for_memory, memory_share, read_gpus, wait_for_memory
from tests.pretended_nvml import GIB, PretendedGpu, PretendedNvml


@pytest.fixture(autouse=True)
def all_gpus_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def held(*gigabytes: int) -> Callable[[], GpuReport]:
    """One GPU of 80 GiB with so much in use at each reading; the last number stays."""

    def readings() -> Iterator[int]:
        yield from gigabytes
        while True:
            yield gigabytes[-1]

    used = readings()

    def read() -> GpuReport:
        gpu = PretendedGpu(used=next(used) * GIB, processes={7: 60 * GIB})
        return read_gpus(PretendedNvml([gpu], names={7: "VLLM::EngineCore"}))

    return read


def waited(read: Callable[[], GpuReport], share: float = 0.92, timeout: float = 120) -> tuple[float, list[str]]:
    """Seconds slept, and the notes."""
    slept: list[float] = []
    notes: list[str] = []
    wait_for_memory(share, notes.append, timeout, read, slept.append)
    return sum(slept), notes


def test_a_free_gpu_is_not_waited_for():
    assert waited(held(1)) == (0, [])


def test_memory_is_waited_for_until_it_is_free_and_its_holder_is_named():
    seconds, notes = waited(held(60, 60, 30, 2))
    assert seconds == 3
    assert notes == [
        f"Waiting for GPU memory on node {platform.node()}: GPU 0 has 20.0 of 80.0 GiB free, 73.6 are needed; "
        "used by VLLM::EngineCore (pid 7, 60.0 GiB). The engine is started after 120 s at the latest."
    ]


def test_after_two_minutes_the_engine_is_started_all_the_same():
    seconds, notes = waited(held(60))
    assert seconds == 120
    assert [note.partition(":")[0] for note in notes] == [
        *[f"Waiting for GPU memory on node {platform.node()}"] * 4,
        f"GPU memory is still in use on node {platform.node()} after 120 s",
    ]
    assert notes[-1].endswith("started anyway, and may fail. Fix: end the processes that use the memory.")


def test_the_wait_says_whether_the_memory_came_free():
    assert wait_for_memory(0.92, print, read=held(60, 1), sleep=lambda seconds: None)
    assert not wait_for_memory(0.92, print, read=held(60), sleep=lambda seconds: None)


def test_a_smaller_share_needs_less():
    assert waited(held(30), share=0.6) == (0, [])
    assert memory_share({"gpu_memory_utilization": 0.6}) == 0.6
    assert memory_share({}) == 0.92


def test_without_nvml_and_on_gpus_that_report_no_memory_nothing_is_waited_for():
    assert waited(lambda: read_gpus(PretendedNvml(starts=False))) == (0, [])
    assert waited(lambda: read_gpus(PretendedNvml([PretendedGpu(memory=None)]))) == (0, [])


def test_only_the_gpus_of_this_process_are_waited_for(monkeypatch: pytest.MonkeyPatch):
    gpus = [PretendedGpu(used=70 * GIB), PretendedGpu(uuid="GPU-1")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert waited(lambda: read_gpus(PretendedNvml(gpus))) == (0, [])


@pytest.mark.parametrize(
    ("before", "after", "failed"),
    [
        ("", "ValueError: Free memory on device cuda:0 (1/2 GiB) on startup is less than desired", True),
        ("", "INFO Free memory on device (1/2 GiB) on startup. Desired GPU memory utilization is", False),
        ("", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", False),
        ("Error in memory profiling", "ValueError: No available memory for the cache blocks", False),
        ("", "\xff\xfe", False),
    ],
)
def test_the_log_of_this_start_says_whether_memory_was_short(tmp_path: Path, before: str, after: str, failed: bool):
    log = tmp_path / "log"
    log.write_bytes((before + after).encode("latin-1"))
    assert failed_for_memory(log, len(before), was_free=True) is failed
    assert failed_for_memory(log, len(before), was_free=False) is (failed or "CUDA out of memory" in after)
    assert failed_for_memory(tmp_path / "none", 0, was_free=False) is False


def test_engines_on_one_gpu_start_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second start waits for the first; the lock of a killed process is free."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import sys, time\n"
        "from safechain_ray.engines.gpus import alone_on_gpu\n"
        "from safechain_ray.engines.gpus import Gpu\n"
        "with alone_on_gpu([Gpu(0, 'GPU-1', 'L4', 0, 0, (8, 9))]):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(float(sys.argv[1]))\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code, "60"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    second = subprocess.Popen([sys.executable, "-c", code, "0"], stdout=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        second.communicate(timeout=2)
    first.kill()
    first.wait()
    assert second.communicate(timeout=30)[0] == "held\n"
