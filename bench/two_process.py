"""Prompts to judged metrics: one overlapping pipeline against two processes, one after the other."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import Spread, default_device, in_new_process, load_average, show_machine, wide_console, write_prompts
from overlap import measure_overlap
from rich.console import Console
from rich.table import Table

from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.commands.gpu_check.speed import generate, render, start_llm, stop_llm, timed_generate, token_prompt
from safechain_ray.config import RunConfig, read_config
from safechain_ray.engines.start import Device
from safechain_ray.judges.llama_guard import LOGPROBS, MAX_TOKENS
from safechain_ray.runs.resolve import resolve
from safechain_ray.types import Message

TARGET_RATIO = 0.9


@dataclass(frozen=True, slots=True)
class Task:
    """What both ways do."""

    model: str
    judge: str
    prompts: str
    prompt_column: str
    samples: int
    max_tokens: int
    device: Device
    in_process: bool

    def config(self) -> RunConfig:
        return read_config(
            None,
            {
                "model": self.model,
                "datasets": [{"name": self.prompts, "prompt_column": self.prompt_column}],
                "samples": self.samples,
                "sampling.temperature": 1.0,
                "sampling.max_tokens": self.max_tokens,
                "judges": [self.judge],
                "resources.device": self.device,
            },
            (),
        )

    def command(self, output: Path) -> list[str]:
        """The same as a command line of `safechain-ray`."""
        flags = {
            "--model": self.model,
            "--dataset": self.prompts,
            "--prompt-column": self.prompt_column,
            "--samples": self.samples,
            "--temperature": 1.0,
            "--max-tokens": self.max_tokens,
            "--judge": self.judge,
            "--device": self.device,
            "--output": output,
        }
        return [
            sys.executable,
            "-m",
            "safechain_ray",
            "evaluate",
            "--json",
            *(str(word) for flag in flags.items() for word in flag),
        ]


@dataclass(frozen=True, slots=True)
class Pair:
    """Wall seconds of both ways, every process from its start to its end."""

    generating: float
    judging: float
    pipeline: float
    safe_apart: float
    safe_pipeline: float
    load: float

    @property
    def apart(self) -> float:
        return self.generating + self.judging

    @property
    def ratio(self) -> float:
        return self.pipeline / self.apart


def generate_all(task: Task, file: Path) -> None:
    """The first process: load the model, generate every sample, save."""
    config = task.config()
    run = resolve(config)
    assert isinstance(run.model, ModelEntry)
    llm = start_llm(run.model, task.device, config.resources, file.with_suffix(".log"), task.in_process)
    done = generate(llm, run)
    table = {
        "prompt": [item.prompt.text for item in run.sample_specs],
        "response": [output.outputs[0].text for output in done.outputs],
    }
    pq.write_table(pa.table(table), file, compression="zstd")
    stop_llm(llm)


def judge_all(task: Task, file: Path, metrics: Path) -> None:
    """The second process: load the judge, judge every sample, save the verdicts and the metrics."""
    from vllm import SamplingParams

    config = task.config()
    judge = resolve(config).judges[0]
    assert judge.engine is not None, f"{judge.name} has no engine to load"
    log_file = file.with_suffix(".judge.log")
    llm = start_llm(judge.engine, task.device, config.resources, log_file, task.in_process)
    rows = pq.read_table(file)
    texts = [
        render(llm, (Message("user", row["prompt"]), Message("assistant", row["response"]))) for row in rows.to_pylist()
    ]
    parameters = SamplingParams(temperature=0, max_tokens=MAX_TOKENS, logprobs=LOGPROBS)
    done = timed_generate(llm, [token_prompt(llm, text) for text in texts], parameters)
    safe = [output.outputs[0].text.strip() == "safe" for output in done.outputs]
    pq.write_table(rows.append_column("safe", pa.array(safe)), file.with_suffix(".judged.parquet"), compression="zstd")
    metrics.write_text(json.dumps({"safe_at_1": sum(safe) / len(safe)}), encoding="utf-8")
    stop_llm(llm)


def measure(task: Task) -> Pair:
    """Both ways once."""
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as scratch:
        folder = Path(scratch)
        samples, metrics = folder / "samples.parquet", folder / "metrics.json"
        started = time.monotonic()
        in_new_process(generate_all, task, samples)
        generated = time.monotonic()
        in_new_process(judge_all, task, samples, metrics)
        judged = time.monotonic()
        done = subprocess.run(task.command(folder / "run"), stdout=subprocess.PIPE, text=True, check=True)
        ended = time.monotonic()
        apart = json.loads(metrics.read_text(encoding="utf-8"))
    together: dict[str, Any] = json.loads(done.stdout)
    return Pair(
        generating=generated - started,
        judging=judged - generated,
        pipeline=ended - judged,
        safe_apart=apart["safe_at_1"],
        safe_pipeline=together["settings"][0]["judges"][0]["safe_at_1"]["value"],
        load=load_average(),
    )


@click.command()
@click.option("--scripted", is_flag=True, help="Measure overlap only, with scripted engines that wait. Needs no model.")
@click.option("--prompts", type=click.Path(exists=True, path_type=Path), help="CSV of prompts (default: 313 numbered).")
@click.option("--prompt-column", default="prompt", show_default=True, help="Column of --prompts.")
@click.option("--samples", type=int, default=5, show_default=True, help="Samples of each prompt.")
@click.option("--max-tokens", type=int, default=512, show_default=True, help="Most tokens of a response.")
@click.option("--model", default="demo-reasoner", show_default=True, help="Model by catalog name.")
@click.option("--judge", default="demo-guard", show_default=True, help="Judge by catalog name; one with an engine.")
@click.option("--in-process", is_flag=True, help="vllm.LLM without processes of its own: faster with a tiny model.")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Alternating runs of each.")
def main(scripted: bool, prompts: Path | None, runs: int, **task: Any) -> None:
    """End to end: safechain-ray evaluate against generating everything, saving, then loading a judge for everything.

    Every process counts from its start to its end: imports, Ray, engine starts, metrics. The target is a ratio of 0.9
    or less. --scripted measures generation, judging and both at once, with engines that only wait. It counts from the
    first request to the last commit. Its target is both / max(generation, judging) of 1.1 or less.
    """
    console = wide_console()
    show_machine(console)
    if scripted:
        measure_overlap(console, runs)
        return
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as scratch:
        file = prompts or write_prompts(Path(scratch) / "prompts.csv", 313)
        work = Task(prompts=str(file), device=default_device(), **task)
        pairs = [measure(work) for _ in range(runs)]
    _show(console, work, pairs)


def _show(console: Console, task: Task, pairs: list[Pair]) -> None:
    table = Table(
        *("run", "generate s", "judge s", "two processes s", "pipeline s", "ratio", "Safe@1 (two, one)", "load"),
        title=f"Prompts to judged metrics: {task.model}, {task.judge}, K = {task.samples}",
    )
    for number, pair in enumerate(pairs, start=1):
        seconds = (pair.generating, pair.judging, pair.apart, pair.pipeline)
        safe = f"{pair.safe_apart:.3f}, {pair.safe_pipeline:.3f}"
        table.add_row(str(number), *(f"{each:.1f}" for each in seconds), f"{pair.ratio:.2f}", safe, f"{pair.load:.1f}")
    console.print(table)
    apart = Spread.of([pair.apart for pair in pairs])
    pipeline = Spread.of([pair.pipeline for pair in pairs])
    console.print(f"two processes {apart:.1f} s; pipeline {pipeline:.1f} s", highlight=False)
    console.print(f"ratio of the medians {pipeline.median / apart.median:.2f} (target: {TARGET_RATIO} or less)")


if __name__ == "__main__":
    main()
