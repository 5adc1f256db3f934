"""How well generation and judging overlap, shown with scripted engines whose time is waiting, as a GPU's is."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from measuring import Spread, in_new_process, keep_committed_files, load_average, write_prompts
from rich.console import Console
from rich.table import Table

from safechain_ray.commands.evaluate import evaluate
from safechain_ray.commands.gpu_check.speed import TimedEngines, read_marks
from safechain_ray.config import read_config
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Request

TARGET_RATIO = 1.1
MODEL, GUARD = "package://demo-reasoner", "package://demo-guard"

PROMPTS, SAMPLES = 313, 5
SECONDS = 0.5
"""Both engines take as long, the hardest case: with one much slower, the other hides behind it by itself."""

MAX_RUNNING, BLOCK_ROWS = 32, 8


def safe_logprobs(request: Request) -> tuple[Mapping[str, float], ...]:
    return ({"safe": -0.1, "unsafe": -2.4},)


def safe(request: Request) -> str:
    return "safe"


def run_scripted(generation_seconds: float, judging_seconds: float | None) -> tuple[float, float]:
    """(seconds from the first request to the last commit, load average). Without `judging_seconds` rules judge."""
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as scratch:
        folder = Path(scratch)
        config = read_config(
            None,
            {
                "model": "demo-reasoner",
                "datasets": [str(write_prompts(folder / "prompts.csv", PROMPTS))],
                "samples": SAMPLES,
                "sampling.temperature": 1.0,
                "judges": ["refusal-match" if judging_seconds is None else "demo-guard"],
                "resources.max_running": MAX_RUNNING,
                "resources.block_rows": BLOCK_ROWS,
                "output": str(folder / "run"),
            },
            (),
        )
        scripts = {
            MODEL: Script(seconds=generation_seconds),
            GUARD: Script(answer=safe, logprobs=safe_logprobs, seconds=judging_seconds or 0.0),
        }
        keep_committed_files()
        notes = folder / "notes.txt"
        evaluate(config, RecordingReporter(), TimedEngines(ScriptedEngines(scripts), {MODEL: notes}))
        last_commit = max(file.stat().st_mtime for file in (folder / "run/samples").glob("*.parquet"))
        return last_commit - read_marks(notes).first_request, load_average()


def measure_overlap(console: Console, runs: int) -> None:
    """Each of the three ways `runs` times, in turns, and the ratio of the medians."""
    ways: dict[str, tuple[float, float | None]] = {
        "generation": (SECONDS, None),
        "judging": (0.0, SECONDS),
        "both": (SECONDS, SECONDS),
    }
    table = Table("run", *(f"{way} s" for way in ways), "both / max", "load", title="Overlap, scripted engines")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(1, runs + 1):
        loads = []
        for way, latencies in ways.items():
            wall, load = in_new_process(run_scripted, *latencies)
            seconds[way].append(wall)
            loads.append(load)
        last = {way: walls[-1] for way, walls in seconds.items()}
        ratio = last["both"] / max(last["generation"], last["judging"])
        table.add_row(str(number), *(f"{wall:.1f}" for wall in last.values()), f"{ratio:.2f}", f"{max(loads):.1f}")
    console.print(table)
    spreads = {way: Spread.of(walls) for way, walls in seconds.items()}
    for way, spread in spreads.items():
        console.print(f"{way}: {spread:.1f} s", highlight=False)
    ratio = spreads["both"].median / max(spreads["generation"].median, spreads["judging"].median)
    console.print(f"ratio of the medians {ratio:.2f} (target: {TARGET_RATIO} or less)")
