"""The cost of faults of engines, workers and nodes with real vLLM engines: errors, missing verdicts and seconds."""

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import click
from fault_scene import REPLICAS, Scene
from measuring import in_new_process, load_average, show_machine, wide_console
from ray.cloudpickle import register_pickle_by_value
from rich.table import Table

from safechain_ray.cluster.workers.generator import WORKER_TITLE
from safechain_ray.commands.evaluate import evaluate
from safechain_ray.commands.gpu_check.check import descendants_titled, title_of
from safechain_ray.config import RunConfig, read_config
from safechain_ray.engines import vllm
from safechain_ray.engines.start import EngineStart
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.types import Engine

MAX_RUNNING, BLOCK_ROWS = 32, 16
MODEL_WORKER, GUARD_WORKER = WORKER_TITLE, "MapBatches(EngineJudge"


@dataclass(frozen=True, slots=True)
class OnCpu:
    """Starts vLLM on the CPU for a pool that was planned on a logical GPU."""

    def __call__(self, start: EngineStart) -> Engine:
        return vllm.start_vllm(replace(start, device="cpu"))


def kill_engine_core(worker: str) -> None:
    """`kill -9` of the engine core below one worker of a pool."""
    title = f"ray::MapWorker({worker}"
    for process in descendants_titled("VLLM::EngineCor"):
        parent = process.parent()
        if parent is not None and title in title_of(parent):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise AssertionError(f"no engine core below {worker}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens once half of the rows are committed. A `judged` run has one replica of the model and one judge."""

    halfway: Callable[[Scene], None] = lambda scene: None
    judged: bool = False

    @property
    def like(self) -> str:
        """The run without a fault to compare with."""
        return "nothing, with a guard" if self.judged else "nothing"


FAULTS: Mapping[str, Fault] = {
    "nothing": Fault(),
    "an engine core is killed": Fault(lambda scene: kill_engine_core(MODEL_WORKER)),
    "a worker is killed": Fault(lambda scene: scene.kill_workers("GeneratorWorker", 1)),
    "a node is killed": Fault(lambda scene: scene.kill_nodes(1)),
    "a node is killed, another joins": Fault(lambda scene: scene.replace_nodes(1)),
    "a node gets a spot notice": Fault(lambda scene: scene.notify()),
    "all nodes are killed, others join": Fault(lambda scene: scene.replace_nodes(REPLICAS)),
    "nothing, with a guard": Fault(judged=True),
    "the guard's engine core is killed": Fault(lambda scene: kill_engine_core(GUARD_WORKER), judged=True),
    "the guard's worker is killed": Fault(lambda scene: scene.kill_workers("EngineJudge", 1), judged=True),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluation under a fault; `seconds` include the engines' starts. `again` are rows that a worker had begun."""

    rows: int
    doubled: int
    errors: int
    missing: int
    restarts: int
    again: int
    seconds: float
    load: float


def measure(name: str, prompts: int, samples: int) -> Run:
    """One evaluation on a Ray cluster of its own."""
    register_pickle_by_value(sys.modules[__name__])  # the workers can't import it
    fault = FAULTS[name]
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as folder, Scene.set_up(in_store=False) as scene:
        total, happened = prompts * samples, False

        def watch(snapshot: Snapshot) -> None:
            nonlocal happened
            if not happened and snapshot.done >= total / 2:
                happened = True
                fault.halfway(scene)

        began = monotonic()
        done = evaluate(config(fault, Path(folder), prompts, samples, scene), RecordingReporter(watch), OnCpu())
        seconds = monotonic() - began
        assert happened, "the run ended before the fault"
        folders = done.folder.samples
        tables = [
            folders.read_parquet(file, ["sample_id", "outcome", "verdicts"]) for file in folders.list_files(".parquet")
        ]
        rows = [row for table in tables for row in table.to_pylist()]
        run = done.folder.read_run()
        latest = run.attempts[-1].pools if run is not None else {}
        pools: Counter[str] = sum(map(Counter, latest.values()), Counter())
        return Run(
            rows=len({row["sample_id"] for row in rows}),
            doubled=len(rows) - len({row["sample_id"] for row in rows}),
            errors=sum(row["outcome"] == "error" for row in rows),
            missing=sum(verdict["unsafe"] is None for row in rows for verdict in row["verdicts"]),
            restarts=pools["engine_restarts"],
            again=pools["rows_again"],
            seconds=seconds,
            load=load_average(),
        )


def config(fault: Fault, folder: Path, prompts: int, samples: int, scene: Scene) -> RunConfig:
    return read_config(
        None,
        {
            "model": "demo-reasoner",
            "datasets": [{"name": "quickstart-requests", "limit": prompts}],
            "samples": samples,
            "sampling.temperature": 0.6,
            "judges": [*(["demo-guard"] if fault.judged else []), "refusal-match"],
            "resources.ray_address": scene.address,
            "resources.block_rows": BLOCK_ROWS,
            "resources.max_running": MAX_RUNNING,
            "resources.replicas": 1 if fault.judged else REPLICAS,
            "resources.device": "cuda",
            "output": str(folder / "run"),
        },
        (),
    )


@click.command()
@click.option("--prompts", type=int, default=313, show_default=True)
@click.option("--samples", type=int, default=5, show_default=True)
@click.option("--fault", "faults", multiple=True, type=click.Choice(list(FAULTS)), help="Only these. Repeatable.")
def main(prompts: int, samples: int, faults: tuple[str, ...]) -> None:
    """Faults under real engines of the demo models, on two nodes with a logical GPU each.

    A node is found dead by Ray's health check, after about 15 s. An engine takes 10 to 25 s to start on two cores.
    """
    console = wide_console()
    show_machine(console)
    wanted = faults or tuple(FAULTS)
    chosen = [name for name in FAULTS if name in wanted or any(FAULTS[other].like == name for other in wanted)]
    columns = ("fault", "rows", "doubled", "errors", "missing", "restarts", "again", "seconds", "seconds lost", "load")
    table = Table(*columns, title=f"Faults with real engines, {prompts} × {samples} rows")
    runs: dict[str, Run] = {}
    for name in chosen:
        run = runs[name] = in_new_process(measure, name, prompts, samples)
        lost = f"{run.seconds - runs[FAULTS[name].like].seconds:.1f}"
        counts = map(str, (run.rows, run.doubled, run.errors, run.missing, run.restarts, run.again))
        row = (name, *counts, f"{run.seconds:.1f}", lost, f"{run.load:.1f}")
        table.add_row(*row)
        console.print(*row)
    console.print(table)


if __name__ == "__main__":
    main()
