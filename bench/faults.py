"""What faults cost: rows done again and seconds lost, with scripted engines on a Ray cluster of several nodes."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import ray
from measuring import in_new_process, load_average, show_machine
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from safechain_ray.config import read_config
from safechain_ray.engines.scripted import Script, ScriptedEngines
from safechain_ray.pipelines.evaluate import evaluate
from safechain_ray.pipelines.observer import Silent, Snapshot
from safechain_ray.schema import Request

MAX_RUNNING, BLOCK_ROWS, REPLICAS = 16, 8, 2
POISON = "Prompt 7:"


class GpuNodes:
    """A cluster of a head and `REPLICAS` nodes with one logical GPU each."""

    def __init__(self) -> None:
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 6})
        self.address: str = self._cluster.address
        self.nodes = [self.add() for _ in range(REPLICAS)]

    def add(self) -> Any:
        return self._cluster.add_node(num_cpus=3, num_gpus=1)

    def kill(self, *nodes: Any) -> None:
        for node in nodes:
            self._cluster.remove_node(node, allow_graceful=False)

    def notify(self, node: Any) -> None:
        """A spot notice."""
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline = int((time.time() + 120) * 1000)
        ray._raylet.GcsClient(address=self.address).drain_node(node.node_id, reason, "spot notice", deadline)

    def shutdown(self) -> None:
        self._cluster.shutdown()


def nothing(nodes: GpuNodes) -> None:
    """What the others are held against."""


def node_killed(nodes: GpuNodes) -> None:
    nodes.kill(nodes.nodes[0])


def node_killed_and_replaced(nodes: GpuNodes) -> None:
    nodes.kill(nodes.nodes[0])
    nodes.add()


def spot_notice(nodes: GpuNodes) -> None:
    nodes.notify(nodes.nodes[0])


def all_nodes_replaced(nodes: GpuNodes) -> None:
    nodes.kill(*nodes.nodes)
    for _ in range(REPLICAS):
        nodes.add()


HALFWAY: Mapping[str, Callable[[GpuNodes], None]] = {
    "nothing": nothing,
    "a node is killed": node_killed,
    "a node is killed, another joins": node_killed_and_replaced,
    "a node gets a spot notice": spot_notice,
    "all nodes are killed, others join": all_nodes_replaced,
}

SCRIPTS: Mapping[str, Mapping[str, Any]] = {
    "an engine dies once": {"dies_after": 60},
    "a prompt kills every engine": {"dies_on": lambda request: POISON in request.prompt},
    "a prompt kills every worker": {},
}


FAULTS = [*HALFWAY, *SCRIPTS]


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluation under a fault; `seconds` from the first answer to the last commit."""

    rows: int
    errors: int
    answers: int
    seconds: float
    load: float


def measure(fault: str, rows: int, seconds: float) -> Run:
    """One evaluation on a cluster of its own, in this process."""
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as scratch:
        folder = Path(scratch)
        notes = str(folder / "answers")
        deadly = fault == "a prompt kills every worker"

        def answer(request: Request) -> str:
            if deadly and POISON in request.prompt:
                os.kill(os.getpid(), signal.SIGKILL)
            with open(notes, "a") as file:
                file.write(f"{time.time()}\n")
            return Script().answer(request)

        nodes = GpuNodes()
        happened = False

        def at_half(snapshot: Snapshot) -> None:
            nonlocal happened
            if not happened and snapshot.committed.get("rows", 0) >= rows / 2:
                happened = True
                HALFWAY.get(fault, nothing)(nodes)

        script = Script(**{"answer": answer, "seconds": seconds, **SCRIPTS.get(fault, {})})
        engines = ScriptedEngines({"package://demo-reasoner": script})
        done = evaluate(_config(folder, rows, nodes.address), Silent(at_half), engines)
        times = [float(line) for line in Path(notes).read_text().split()]
        files = [file.stat().st_mtime for file in (folder / "run" / "samples").glob("*.parquet")]
        nodes.shutdown()
        return Run(done.committed, done.errors, len(times), max(files) - min(times), load_average())


def _config(folder: Path, rows: int, address: str) -> Any:
    return read_config(
        None,
        {
            "model": "demo-reasoner",
            "datasets": [str(_prompts(folder / "prompts.csv", rows))],
            "judges": ["refusal-match"],
            "resources.ray_address": address,
            "resources.block_rows": BLOCK_ROWS,
            "resources.max_running": MAX_RUNNING,
            "output": str(folder / "run"),
        },
        (),
    )


def _prompts(file: Path, rows: int) -> Path:
    file.write_text("prompt\n" + "".join(f"Prompt {number}: how?\n" for number in range(rows)))
    return file


@click.command()
@click.option("--rows", type=click.IntRange(min=100), default=600, show_default=True, help="Samples of a run.")
@click.option("--seconds", type=float, default=0.5, show_default=True, help="How long an engine takes for an answer.")
@click.option("--fault", "faults", multiple=True, type=click.Choice(FAULTS), help="Only these. Repeatable.")
def main(rows: int, seconds: float, faults: tuple[str, ...]) -> None:
    """What faults cost a run on two replicas, each on a node of its own with a logical GPU.

    Engines are scripted and start at once: where a real one loads for minutes, these come on top wherever one starts
    anew. Nodes are found dead by Ray's health check, after about 15 s. "Done again" are answers that were given twice,
    not those that a fault cut off.
    """
    console = Console()
    show_machine(console)
    chosen = dict.fromkeys(["nothing", *(faults or FAULTS)])
    runs = {fault: in_new_process(measure, fault, rows, seconds) for fault in chosen}
    columns = ("fault", "rows", "with an error", "done again", "seconds", "seconds lost", "load")
    in_flight = 2 * MAX_RUNNING
    table = Table(*columns, title=f"Faults, {rows} rows, {REPLICAS} replicas, {in_flight} rows in flight in each")
    usual = runs["nothing"].seconds
    for fault, run in runs.items():
        again = run.answers - (run.rows - run.errors)
        lost = f"{run.seconds - usual:.1f}"
        table.add_row(fault, str(run.rows), str(run.errors), str(again), f"{run.seconds:.1f}", lost, f"{run.load:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
