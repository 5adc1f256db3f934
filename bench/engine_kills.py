"""Rows, errors, missing verdicts and seconds after `kill -9` of vLLM's engine core, with real engines on CPUs."""

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import pyarrow.parquet as pq
from measuring import load_average, show_machine, wide_console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.engine_cores import JUDGE_ACTOR, MODEL_ACTOR, committed_rows, engine_core
from tests.labelled_responses import write_labelled
from tests.processes import marked_environment

Target = Literal["nothing", "model", "judge", "nothing in a study", "study"]
TARGETS: tuple[Target, ...] = ("nothing", "model", "judge", "nothing in a study", "study")

UNDISTURBED: dict[Target, Target] = {"model": "nothing", "judge": "nothing", "study": "nothing in a study"}

ACTOR: dict[Target, str] = {"model": MODEL_ACTOR, "judge": JUDGE_ACTOR, "study": JUDGE_ACTOR}
"""The actor whose engine is killed."""

POLL_SECONDS = 0.05
LONGEST_RUN_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Size:
    """`prompts` × `samples` samples of an evaluation, `labelled` rows of a study."""

    prompts: int
    samples: int
    labelled: int

    def rows(self, target: Target) -> int:
        return self.labelled if "study" in target else self.prompts * self.samples


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `rows` are distinct sample ids; `missing` are verdicts without a decision."""

    kills: int
    rows: int
    doubled: int
    errors: int
    missing: int
    restarts: int
    exit_code: int
    seconds: float


def command(target: Target, size: Size, folder: Path) -> list[str]:
    """One run of the command line with the demo models."""
    words = [sys.executable, "-m", "safechain_ray"]
    if "study" in target:
        data = str(write_labelled(folder / "labelled.csv", size.labelled))
        words += ["judge-study", "--data", data, "--judge", "demo-guard", "--judge", "refusal-match"]
    else:
        words += ["evaluate", "--model", "demo-reasoner", "--dataset", "quickstart-requests"]
        words += ["--limit", str(size.prompts), "--samples", str(size.samples), "--temperature", "0.6"]
        words += ["--judge", "demo-guard", "--judge", "refusal-match"]
    return [*words, "--set", "resources.block_rows=16", "--output", str(folder / "run")]


def measure(target: Target, size: Size, points: Sequence[float], sent: signal.Signals) -> Outcome:
    """One run; at each of `points` (shares of all rows committed) the engine core of `target` receives `sent`."""
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as name:
        folder, environment = Path(name), marked_environment()
        started = time.monotonic()
        with open(folder / "log", "wb") as log:
            run = subprocess.Popen(command(target, size, folder), stdout=log, stderr=log, env=environment)
        kills = 0 if target not in ACTOR else _kill_at(run, folder / "run", target, size, points, sent, environment)
        exit_code = run.wait(LONGEST_RUN_SECONDS)
        seconds = time.monotonic() - started
        if exit_code not in (0, 3):
            print((folder / "log").read_text(errors="replace")[-3000:])
        return _outcome(folder / "run", kills, exit_code, seconds)


def _kill_at(
    run: subprocess.Popen[bytes],
    output: Path,
    target: Target,
    size: Size,
    points: Sequence[float],
    sent: signal.Signals,
    environment: dict[str, str],
) -> int:
    """Kill the engine core that lives at each point; a core that was killed already does not count."""
    kills, dead = 0, set[int]()
    for point in points:
        while run.poll() is None and committed_rows(output) < max(1, point * size.rows(target)):
            time.sleep(POLL_SECONDS)
        while run.poll() is None:
            core = engine_core(environment, ACTOR[target], dead)
            if core is not None:
                os.kill(core, sent)
                dead.add(core)
                kills += 1
                break
            time.sleep(POLL_SECONDS)
    return kills


def _outcome(output: Path, kills: int, exit_code: int, seconds: float) -> Outcome:
    tables = [
        pq.read_table(path, columns=["sample_id", "outcome", "verdicts"]) for path in output.glob("samples/*.parquet")
    ]
    rows = [row for table in tables for row in table.to_pylist()]
    ids = {row["sample_id"] for row in rows}
    last = json.loads((output / "run.json").read_text())["tries"][-1]
    return Outcome(
        kills=kills,
        rows=len(ids),
        doubled=len(rows) - len(ids),
        errors=sum(row["outcome"] == "error" for row in rows),
        missing=sum(verdict["unsafe"] is None for row in rows for verdict in row["verdicts"]),
        restarts=sum(pool.get("engine_restarts", 0) for pool in last["pools"].values()),
        exit_code=exit_code,
        seconds=seconds,
    )


@click.command()
@click.option("--prompts", type=int, default=313, show_default=True)
@click.option("--samples", type=int, default=5, show_default=True)
@click.option("--labelled", type=int, default=1000, show_default=True, help="Rows of the judge study.")
@click.option("--target", "targets", multiple=True, type=click.Choice(TARGETS), help="Only these. Repeatable.")
@click.option("--runs", type=int, default=1, show_default=True, help="Runs of each target.")
@click.option(
    "--at", "points", multiple=True, type=float, default=(0.0, 0.5), help="Share of rows committed. Repeatable."
)
@click.option("--signal", "sent", type=click.Choice(["SIGKILL", "SIGTERM"]), default="SIGKILL", show_default=True)
@click.option("--csv", "table_file", type=click.Path(path_type=Path), help="Append each run to this file.")
def main(
    prompts: int,
    samples: int,
    labelled: int,
    targets: tuple[Target, ...],
    runs: int,
    points: tuple[float, ...],
    sent: str,
    table_file: Path | None,
) -> None:
    """Kill the engine core of the model, of the judge, or of a study's judge, at the first commit and again at half.

    Each run is the whole command: its seconds include imports and engine starts. "Lost" is the difference to the
    undisturbed run of the table. A new engine of the demo models takes 10 to 25 s to start on two cores.
    """
    console = wide_console()
    show_machine(console)
    size = Size(prompts, samples, labelled)
    columns = ("killed", "kills", "rows", "doubled", "errors", "missing", "restarts", "exit", "seconds", "lost", "load")
    table = Table(
        *columns, title=f"{sent} of vLLM's engine core, {prompts} × {samples} samples, {labelled} labelled rows"
    )
    undisturbed: dict[Target, float] = {}
    for target in targets or TARGETS:
        for _ in range(1 if target in UNDISTURBED.values() else runs):
            each = measure(target, size, points, signal.Signals[sent])
            undisturbed.setdefault(target, each.seconds)
            base = undisturbed.get(UNDISTURBED.get(target, target))
            lost = "" if base is None else f"{each.seconds - base:.1f}"
            counts = (each.kills, each.rows, each.doubled, each.errors, each.missing, each.restarts, each.exit_code)
            row = (target, *map(str, counts), f"{each.seconds:.1f}", lost, f"{load_average():.1f}")
            table.add_row(*row)
            console.print(*row)
            if table_file is not None:
                with table_file.open("a", newline="") as file:
                    csv.writer(file).writerow(row)
    console.print(table)


if __name__ == "__main__":
    main()
