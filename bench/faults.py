"""What faults cost: repeated rows and seconds lost, with scripted engines on a Ray cluster of several nodes."""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import click
from autoscaled_scene import AutoscaledScene
from fault_scene import REPLICAS, Scene
from measuring import in_new_process, load_average, show_machine, wide_console
from rich.table import Table

from safechain_ray.commands.evaluate import evaluate
from safechain_ray.config import RunConfig, read_config
from safechain_ray.errors import OutputLockedError
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Request

MAX_RUNNING, BLOCK_ROWS = 16, 8
POISON = "Prompt 7:"
MODEL, GUARD = "package://demo-reasoner", "package://demo-guard"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that happens when half of a run's rows are committed, or that its engines cause.

    `like` is the row that it is compared with: the same run without a fault. `judged` runs have a judge with a pool, so
    that model and judge have a node each. Those `in_store` write to a real S3 server. Those `autoscaled` begin and end
    without a node. An `earlier_driver` is killed halfway before the measured one starts. An `other_driver` starts
    halfway, and must be refused.
    """

    halfway: Callable[[Scene], None] = lambda scene: None
    script: Mapping[str, Any] = field(default_factory=dict)
    like: str = "nothing"
    judged: bool = False
    in_store: bool = False
    autoscaled: bool = False
    earlier_driver: bool = False
    other_driver: bool = False


FAULTS: Mapping[str, Fault] = {
    "nothing": Fault(),
    "an engine dies once": Fault(script={"dies_after": 60}),
    "a worker is killed": Fault(lambda scene: scene.kill_workers("GeneratorWorker", 1)),
    "a node is killed": Fault(lambda scene: scene.kill_nodes(1)),
    "a node is killed, another joins": Fault(lambda scene: scene.replace_nodes(1)),
    "a node gets a spot notice": Fault(lambda scene: scene.notify()),
    "all nodes are killed, others join": Fault(lambda scene: scene.replace_nodes(REPLICAS)),
    "a prompt kills every engine": Fault(script={"dies_on": lambda request: POISON in request.prompt}),
    "a prompt kills every worker": Fault(),
    "the driver is killed and started again": Fault(earlier_driver=True),
    "a second driver comes": Fault(other_driver=True),
    "nothing, on an autoscaler's nodes": Fault(autoscaled=True),
    "all of an autoscaler's nodes are killed": Fault(
        lambda scene: scene.kill_nodes(REPLICAS), like="nothing, on an autoscaler's nodes", autoscaled=True
    ),
    "nothing, with a guard": Fault(judged=True),
    "all workers of the guard are killed": Fault(
        lambda scene: scene.kill_workers("EngineJudge", REPLICAS), like="nothing, with a guard", judged=True
    ),
    "nothing, in a store": Fault(in_store=True),
    "the store answers 503 for 10 s": Fault(
        lambda scene: scene.trouble_store("unavailable", 10), like="nothing, in a store", in_store=True
    ),
    "the store stalls for 10 s": Fault(
        lambda scene: scene.trouble_store("stalls", 10), like="nothing, in a store", in_store=True
    ),
    "the store is killed, and back after 10 s": Fault(
        lambda scene: scene.kill_store(10), like="nothing, in a store", in_store=True
    ),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluation under a fault; `seconds` from the first answer to the last commit.

    `rows` are the samples in its folder, `doubled` those that are there more than once.
    """

    rows: int
    doubled: int
    errors: int
    answers: int
    seconds: float
    load: float


Job = tuple[str, Path, Scene, int, float]
"""The arguments of `drive`."""


def measure(name: str, rows: int, seconds: float) -> Run:
    """One evaluation on a cluster of its own, in this process (on an autoscaler's, in one that has its token)."""
    fault = FAULTS[name]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="safechain-bench-")))
        if fault.autoscaled:
            brought = stack.enter_context(AutoscaledScene.without_nodes())
            driven = in_new_process(drive, name, folder, brought, rows, seconds)
            brought.wait_until_no_node_is_left()
        else:
            scene = stack.enter_context(Scene.set_up(in_store=fault.in_store))
            driven = _with_the_other_driver(fault, (name, folder, scene, rows, seconds))
        times = [float(line) for line in (folder / "answers").read_text().split()]
        stand, doubled = driven.rows, len(driven.sample_ids) - driven.rows
        return Run(stand, doubled, driven.errors, len(times), driven.last_commit - min(times), load_average())


def _with_the_other_driver(fault: Fault, job: Job) -> "Driven":
    """The evaluation in this process, and the driver before it or beside it that the fault has."""
    name, folder, scene, rows, seconds = job
    copy = (name, folder, scene.for_a_copy(), rows, seconds)
    if fault.earlier_driver:
        _join(_started(drive_to_death, *copy), -signal.SIGKILL)
    if not fault.other_driver:
        return drive(*job)
    # Its imports take as long as half of the rows: it would come after the end.
    comes = multiprocessing.get_context("spawn").Event()
    other = _started(be_refused, comes, *copy)
    try:
        driven = drive(*job, lambda scene: comes.set())
    finally:
        comes.set()
    _join(other, 0)
    return driven


def _started(function: Callable[..., Any], *arguments: Any) -> SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    return process


def _join(process: SpawnProcess, exit_code: int) -> None:
    process.join()
    assert process.exitcode == exit_code, f"the other driver ended with {process.exitcode}"


def drive_to_death(name: str, folder: Path, scene: Scene, rows: int, seconds: float) -> None:
    """The driver that is killed halfway; the next one finds its lease."""
    drive(name, folder, scene, rows, seconds, lambda scene: os.kill(os.getpid(), signal.SIGKILL))


def be_refused(comes: Event, name: str, folder: Path, scene: Scene, rows: int, seconds: float) -> None:
    """The driver that comes while another is at work."""
    comes.wait()
    try:
        drive(name, folder, scene, rows, seconds)
    except OutputLockedError:
        return
    raise AssertionError("two drivers were at work in one folder")


@dataclass(frozen=True, slots=True)
class Driven:
    """How an evaluation ended, and when its last rows were seen to be committed."""

    sample_ids: tuple[str, ...]
    errors: int
    last_commit: float

    @property
    def rows(self) -> int:
        return len(set(self.sample_ids))


def drive(
    name: str,
    folder: Path,
    scene: Scene,
    rows: int,
    seconds: float,
    halfway: Callable[[Scene], None] | None = None,
) -> Driven:
    """The evaluation, with `halfway` in place of what the fault has befall it then."""
    fault = FAULTS[name]
    deadly = name == "a prompt kills every worker"
    answers = str(folder / "answers")

    def answer(request: Request) -> str:
        if deadly and POISON in request.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(answers, "a") as file:
            file.write(f"{time.time()}\n")
        return Script().answer(request)

    happened = False
    last, last_commit = 0, 0.0

    def watch(snapshot: Snapshot) -> None:
        nonlocal happened, last, last_commit
        if snapshot.done > last:
            last, last_commit = snapshot.done, time.time()
        if not happened and snapshot.done >= rows / 2:
            happened = True
            (halfway or fault.halfway)(scene)

    guard = Script(answer=lambda request: "safe", logprobs=lambda request: ({"safe": -0.1, "unsafe": -2.4},))
    model = Script(**{"answer": answer, "seconds": seconds, **fault.script})
    done = evaluate(
        _config(fault, folder, rows, scene), RecordingReporter(watch), ScriptedEngines({MODEL: model, GUARD: guard})
    )
    samples = done.folder.samples
    tables = [samples.read_parquet(file, ["sample_id"]) for file in samples.list_files(".parquet")]
    ids = tuple(sample_id for table in tables for sample_id in table["sample_id"].to_pylist())
    return Driven(ids, done.errors, last_commit)


def _config(fault: Fault, folder: Path, rows: int, scene: Scene) -> RunConfig:
    return read_config(
        None,
        {
            "model": "demo-reasoner",
            "datasets": [str(_prompts(folder / "prompts.csv", rows))],
            "judges": [*(["demo-guard"] if fault.judged else []), "refusal-match"],
            "resources.ray_address": scene.address,
            "resources.block_rows": BLOCK_ROWS,
            "resources.max_running": MAX_RUNNING,
            "resources.replicas": 1 if fault.judged else REPLICAS,
            "resources.autoscaler_config": scene.autoscaler_config,
            "output": scene.output or str(folder / "run"),
        },
        (),
    )


def _prompts(file: Path, rows: int) -> Path:
    file.write_text("prompt\n" + "".join(f"Prompt {number}: how?\n" for number in range(rows)))
    return file


@click.command()
@click.option("--rows", type=click.IntRange(min=100), default=600, show_default=True, help="Samples of a run.")
@click.option("--seconds", type=float, default=0.5, show_default=True, help="How long an engine takes for an answer.")
@click.option("--fault", "faults", multiple=True, type=click.Choice(list(FAULTS)), help="Only these. Repeatable.")
def main(rows: int, seconds: float, faults: tuple[str, ...]) -> None:
    """What faults cost a run on two replicas, each on a node of its own with a logical GPU.

    Engines are scripted and start at once: where a real one loads for minutes, these come on top where one starts
    anew. Nodes are found dead by Ray's health check, after about 15 s. "Repeated" are answers that were given twice,
    not those that a fault cut off.
    """
    console = wide_console()
    show_machine(console)
    wanted = faults or tuple(FAULTS)
    chosen = [name for name in FAULTS if name in wanted or any(FAULTS[other].like == name for other in wanted)]
    columns = ("fault", "rows", "doubled", "with an error", "done again", "seconds", "seconds lost", "load")
    in_flight = 2 * MAX_RUNNING
    table = Table(*columns, title=f"Faults, {rows} rows, {REPLICAS} replicas, {in_flight} rows in flight in each")
    runs: dict[str, Run] = {}
    for name in chosen:
        run = runs[name] = in_new_process(measure, name, rows, seconds)
        again = run.answers - (run.rows - run.errors)
        lost = f"{run.seconds - runs[FAULTS[name].like].seconds:.1f}" if name in wanted else ""
        counts = map(str, (run.rows, run.doubled, run.errors, again))
        table.add_row(name, *counts, f"{run.seconds:.1f}", lost, f"{run.load:.1f}")
        console.print(f"{name}: {run.seconds:.1f} s")
    console.print(table)


if __name__ == "__main__":
    main()
