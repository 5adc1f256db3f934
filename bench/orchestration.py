"""Rows a second through the whole pipeline when the engine answers at once: what the orchestration itself costs."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import click
import pyarrow.parquet as pq
from measuring import (
    Spread,
    in_new_process,
    keep_committed_files,
    load_average,
    show_machine,
    wide_console,
    write_prompts,
)
from processor_time import ProcessorTime, StreamWatcher
from rich.table import Table

from safechain_ray.commands.evaluate import evaluate
from safechain_ray.config import RunConfig, read_config
from safechain_ray.testing import Script, ScriptedEngines

TARGET_ROWS_PER_SECOND = 7_000
PROMPTS = 1_000
"""However many rows: what grows in the driver's memory is then the rows' doing, not the data set's."""

ROLES = ("driver", "actors", "tasks", "other")


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluation. `stream_seconds` is from the first commit to the last, `whole_seconds` all of `evaluate`."""

    rows: int
    rows_per_second: float
    files: int
    most_rows_in_a_file: int
    stream_seconds: float
    whole_seconds: float
    stream_megabytes: float
    peak_megabytes: float
    cpu_microseconds: dict[str, float]
    load: float

    def cells(self) -> list[str]:
        return [
            f"{self.rows_per_second:,.0f}",
            f"{self.files:,}",
            str(self.most_rows_in_a_file),
            f"{self.stream_seconds:.1f}",
            f"{self.whole_seconds:.1f}",
            f"{self.stream_megabytes:.0f}",
            f"{self.peak_megabytes:.0f}",
            *(f"{self.cpu_microseconds.get(role, 0):.0f}" for role in ROLES),
            f"{self.load:.1f}",
        ]


def measure(rows: int, block_rows: int, max_running: int) -> Run:
    """One evaluation of `rows` samples in this process, into a folder that is deleted."""
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as scratch:
        samples = Path(scratch) / "run" / "samples"
        keep_committed_files()
        engines = ScriptedEngines({"package://demo-reasoner": Script()})
        with ProcessorTime() as processor:
            reporter = StreamWatcher(processor, has_begun=lambda: any(samples.glob("*.parquet")))
            done = evaluate(_config(Path(scratch), rows, block_rows, max_running), reporter, engines)
        assert done.committed == rows
        files = sorted((file.stat().st_mtime, file) for file in samples.glob("*.parquet"))
        sizes = [pq.read_metadata(file).num_rows for _, file in files]
    stream_seconds = files[-1][0] - files[0][0]
    return Run(
        rows=rows,
        rows_per_second=(rows - sizes[0]) / stream_seconds,
        files=len(files),
        most_rows_in_a_file=max(sizes),
        stream_seconds=stream_seconds,
        whole_seconds=reporter.whole_seconds,
        stream_megabytes=reporter.peak_megabytes,
        peak_megabytes=getrusage(RUSAGE_SELF).ru_maxrss / 1024,
        cpu_microseconds={role: 1e6 * used / (rows - reporter.rows_before) for role, used in reporter.cpu.items()},
        load=load_average(),
    )


def _config(folder: Path, rows: int, block_rows: int, max_running: int) -> RunConfig:
    return read_config(
        None,
        {
            "model": "demo-reasoner",
            "datasets": [str(write_prompts(folder / "prompts.csv", PROMPTS))],
            "samples": rows // PROMPTS,
            "sampling.temperature": 1.0,
            "judges": ["refusal-match"],
            "resources.block_rows": block_rows,
            "resources.max_running": max_running,
            "output": str(folder / "run"),
        },
        (),
    )


@click.command()
@click.option(
    "--rows",
    multiple=True,
    type=click.IntRange(min=PROMPTS),
    default=(10_000, 100_000),
    show_default=True,
    help=f"Samples of a run, rounded down to a multiple of {PROMPTS}. Repeatable; 1000000 takes minutes.",
)
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Evaluations of each size.")
@click.option("--block-rows", type=int, default=64, show_default=True, help="resources.block_rows of the runs.")
@click.option("--max-running", type=int, default=1024, show_default=True, help="resources.max_running of the runs.")
def main(rows: tuple[int, ...], runs: int, block_rows: int, max_running: int) -> None:
    """Orchestration alone: a scripted engine that answers at once, refusal-match as the judge, Parquet on a local disk.

    Rows/s are counted from the first commit to the last, so that the start of Ray and of the actor and the metrics are
    left out; "whole" has them in. CPU is processor time a row in the driver, in the replica, in the tasks that judge
    and commit, and in Ray's own processes. The target is 7,000 rows/s for every number of rows, driver memory flat.
    """
    console = wide_console()
    show_machine(console)
    table = Table(
        *("rows", "run", "rows/s", "files", "rows a file ≤", "stream s", "whole s", "driver MB in stream", "MB peak"),
        *(f"CPU µs {role}" for role in ROLES),
        "load",
        title=f"Orchestration, block_rows {block_rows}",
    )
    medians = []
    for size in rows:
        done = [in_new_process(measure, size // PROMPTS * PROMPTS, block_rows, max_running) for _ in range(runs)]
        for number, run in enumerate(done, start=1):
            table.add_row(f"{size:,}", str(number), *run.cells(), end_section=number == runs)
        speed = Spread.of([run.rows_per_second for run in done])
        ratio = speed.median / TARGET_ROWS_PER_SECOND
        medians.append(f"{size:,} rows: {speed:,.0f} rows/s, {ratio:.2f} of the target of {TARGET_ROWS_PER_SECOND:,}")
    console.print(table)
    for median in medians:
        console.print(median, highlight=False)


if __name__ == "__main__":
    main()
