"""Rows a second against replicas, nodes and blocks, with scripted engines; and where the one driver would bend."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import pyarrow.parquet as pq
from measuring import in_new_process, keep_committed_files, show_machine, wide_console, write_prompts
from processor_time import ProcessorTime, StreamWatcher
from rich.table import Table
from slotted_engine import SlottedEngines

from safechain_ray.commands.evaluate import evaluate
from safechain_ray.config import read_config
from safechain_ray.testing import Script

SECONDS = 1.0
"""What a request takes: the time is waiting, as a GPU's is for its host, so that two cores carry many replicas."""

MAX_RUNNING = 16
ROUNDS = 30
"""Times that every slot of every replica is filled."""

TARGET_RATIO = 0.9
REPLICAS_AIMED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Scale:
    """What is varied."""

    replicas: int
    nodes: int
    block_rows: int


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluation: speed in its middle, and the driver's processor time from the first commit on."""

    scale: Scale
    rows_per_second: float
    driver_seconds: float
    cores: float
    """busy with this run, of those that the machine has"""
    blocks: int

    @property
    def ratio(self) -> float:
        """Speed over that of engines that never wait for a row."""
        return self.rows_per_second / (self.scale.replicas * MAX_RUNNING / SECONDS)

    @property
    def driver_milliseconds_a_block(self) -> float:
        return 1e3 * self.driver_seconds / self.blocks


def measure(scale: Scale) -> Run:
    """One evaluation on a Ray cluster of logical GPUs, one for each replica, spread over the nodes."""
    from ray.cluster_utils import Cluster

    rows = ROUNDS * MAX_RUNNING * scale.replicas
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8})
    try:
        for _ in range(scale.nodes):
            gpus = scale.replicas // scale.nodes
            cluster.add_node(num_cpus=4 * gpus, num_gpus=gpus)
        with tempfile.TemporaryDirectory(prefix="safechain-bench-") as scratch:
            return _evaluated(Path(scratch), cluster.address, scale, rows)
    finally:
        cluster.shutdown()


def _evaluated(scratch: Path, address: str, scale: Scale, rows: int) -> Run:
    samples = scratch / "run" / "samples"
    config = read_config(
        None,
        {
            "model": "demo-reasoner",
            "datasets": [str(write_prompts(scratch / "prompts.csv", rows))],
            "sampling.temperature": 0.0,
            "judges": ["refusal-match"],
            "resources.device": "cuda",
            "resources.replicas": scale.replicas,
            "resources.block_rows": scale.block_rows,
            "resources.max_running": MAX_RUNNING,
            "resources.ray_address": address,
            "output": str(scratch / "run"),
        },
        (),
    )
    keep_committed_files()
    with ProcessorTime() as processor:
        reporter = StreamWatcher(processor, has_begun=lambda: any(samples.glob("*.parquet")))
        evaluate(config, reporter, SlottedEngines(Script(seconds=SECONDS)))
    files = sorted((file.stat().st_mtime, pq.read_metadata(file).num_rows) for file in samples.glob("*.parquet"))
    cores = sum(reporter.cpu.values()) / reporter.seconds
    return Run(scale, _speed_in_the_middle(files), reporter.cpu["driver"], cores, len(files))


def _speed_in_the_middle(files: Sequence[tuple[float, int]]) -> float:
    """Rows a second between the first and the last fifth of the rows: replicas begin and end at different times."""
    rows = sum(size for _, size in files)
    done = 0
    middle: list[tuple[float, int]] = []
    for moment, size in files:
        done += size
        if rows / 5 <= done <= 4 * rows / 5:
            middle.append((moment, size))
    seconds = middle[-1][0] - middle[0][0]
    return sum(size for _, size in middle[1:]) / seconds


@click.command()
@click.option("--replicas", multiple=True, type=int, default=(1, 2, 4, 8), show_default=True)
@click.option("--nodes", multiple=True, type=int, default=(1, 2, 4), show_default=True, help="Each with 8 replicas.")
@click.option(
    "--block-rows", multiple=True, type=int, default=(4, 8, 16), show_default=True, help="8 replicas, 1 node."
)
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--rows-a-replica", type=float, default=1.0, show_default=True, help="Rows/s of a real replica, assumed.")
def main(
    replicas: tuple[int, ...], nodes: tuple[int, ...], block_rows: tuple[int, ...], runs: int, rows_a_replica: float
) -> None:
    """Scaling: engines that wait 1 s a request, 16 requests at a time each, refusal-match as the judge.

    The ratio is rows/s over replicas x 16, the rate of engines that never wait for a row. The target is 0.9 or more
    while the machine, which runs all nodes, has a free core. The driver schedules blocks in one thread. Its processor
    time for each block gives the number of blocks per second, and so of replicas, at which it saturates.
    """
    console = wide_console()
    show_machine(console)
    block = 8
    scales = [
        *(Scale(count, 1, block) for count in replicas),
        *(Scale(8, count, block) for count in nodes if count > 1),
        *(Scale(8, 1, rows) for rows in block_rows if rows != block),
    ]
    table = Table(
        "replicas", "nodes", "block rows", "rows/s", "ratio", "driver ms a block", "cores busy", title="Scaling"
    )
    at_eight = []
    for scale in scales:
        done = [in_new_process(measure, scale) for _ in range(runs)]
        middle = sorted(done, key=lambda run: run.ratio)[len(done) // 2]
        table.add_row(
            str(scale.replicas),
            str(scale.nodes),
            str(scale.block_rows),
            f"{middle.rows_per_second:,.0f}",
            f"{middle.ratio:.2f}",
            f"{middle.driver_milliseconds_a_block:.1f}",
            f"{middle.cores:.1f}",
        )
        at_eight.append(middle.driver_milliseconds_a_block)
    console.print(table)
    console.print(bend(median(at_eight), rows_a_replica), highlight=False)


def bend(milliseconds_a_block: float, rows_a_replica: float) -> str:
    """Where a run would bend: one thread schedules, each block costs it the same, however many replicas there are."""
    blocks_a_second = 1e3 / milliseconds_a_block
    lines = [
        f"The driver is full at {blocks_a_second:,.0f} blocks/s ({milliseconds_a_block:.1f} ms of a processor each). "
        f"With {rows_a_replica:g} rows/s a replica (assumed) a run bends at:"
    ]
    for rows in (8, 32, 64):
        replicas = blocks_a_second * rows / rows_a_replica
        verdict = "beyond" if replicas > REPLICAS_AIMED_AT else "before"
        lines.append(f"  block_rows {rows}: {replicas:,.0f} replicas, {verdict} {REPLICAS_AIMED_AT:,}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
