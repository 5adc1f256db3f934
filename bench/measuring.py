"""What the benchmarks share: runs in processes of their own, medians with their spread, and the machine beside them."""

import csv
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar

from rich.console import Console

from safechain_ray.engines.start import Device
from safechain_ray.runs import file_index

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several runs and how far they lie apart: the noise that a ratio has to be read against."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        return cls(median(figures), min(figures), max(figures))

    @property
    def percent(self) -> float:
        """(high - low) in percent of the median."""
        return 100 * (self.high - self.low) / self.median

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}}, ±{self.percent / 2:.0f}%)"


def in_new_process(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call a function of a module in a fresh process, so that no run inherits memory, imports or a Ray.

    Ray gives its workers, and with them the engines, a low priority (`nice` 15). Here they get the usual one. Other
    processes of the machine then slow both sides of a comparison equally.
    """
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - the name is Ray's
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args, **kwargs).result()


def keep_committed_files() -> None:
    """Keep the files of a finished run as they were committed: their times are measured here, and merging ends them."""
    file_index.SMALL_BYTES = 0


def default_device() -> Device:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_average() -> float:
    """Runnable processes over the last minute: above the number of cores, others took part of the machine."""
    return os.getloadavg()[0]


def wide_console() -> Console:
    """The console of a benchmark: 160 characters wide in a pipe or a file, where rich would cut columns at 80."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def show_machine(console: Console) -> None:
    cores = len(os.sched_getaffinity(0))
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    console.print(f"{now}; {platform.machine()}, {cores} cores, Python {platform.python_version()}; "
                  f"load before {load_average():.1f}")  # fmt: skip


def write_prompts(file: Path, count: int) -> Path:
    """A CSV of `count` different prompts (columns prompt_id, prompt): those of quickstart, numbered, over and over."""
    source = files("safechain_ray") / "datasets" / "data" / "quickstart.csv"
    texts = [row["prompt"] for row in csv.DictReader(source.read_text(encoding="utf-8").splitlines())]
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(("prompt_id", "prompt"))
        for number in range(count):
            # The number comes first, so that prompts share no more of their prefix than different prompts do.
            writer.writerow((f"p{number}", f"{number + 1}. {texts[number % len(texts)]}"))
    return file
