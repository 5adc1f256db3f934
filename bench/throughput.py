"""Generated tokens a second: the whole pipeline with one replica against `vllm.LLM.generate` on the same requests."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click
from measuring import (
    Spread,
    default_device,
    in_new_process,
    keep_committed_files,
    load_average,
    show_machine,
    wide_console,
    write_prompts,
)
from processor_time import ProcessorTime, StreamWatcher
from rich.table import Table

from safechain_ray.catalog.entries import ModelEntry
from safechain_ray.commands.evaluate import evaluate
from safechain_ray.commands.gpu_check.speed import TimedEngines, generate, read_marks, start_llm, stop_llm, warm_up
from safechain_ray.config import RunConfig, read_config
from safechain_ray.engines.start import Device
from safechain_ray.engines.vllm import limits_of_a_step, start_vllm
from safechain_ray.runs.resolve import resolve

TARGET_RATIO = 0.95


@dataclass(frozen=True, slots=True)
class Load:
    """The requests of a run and how it is laid out; the same for both sides."""

    model: str
    family: str | None
    device: Device
    prompts: int
    samples: int
    max_tokens: int
    max_running: int
    block_rows: int
    in_process: bool

    def config(self, folder: Path) -> RunConfig:
        flags: dict[str, object] = {
            "model.name": self.model,
            "datasets": [str(write_prompts(folder / "prompts.csv", self.prompts))],
            "samples": self.samples,
            "sampling.temperature": 1.0,
            "sampling.max_tokens": self.max_tokens,
            "judges": ["refusal-match"],
            "output": str(folder / "run"),
            "resources.device": self.device,
            "resources.replicas": 1,
            "resources.max_running": self.max_running,
            "resources.block_rows": self.block_rows,
        }
        if self.family is not None:
            flags["model.family"] = self.family
        return read_config(None, flags, ())


@dataclass(frozen=True, slots=True)
class Side:
    """What one side generated, in how long."""

    tokens: int
    seconds: float
    cpu_seconds: float
    load: float
    limits_of_a_step: tuple[int, int] | None
    mean_in_engine: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """Processor time a token, of all processes of this side."""
        return 1e6 * self.cpu_seconds / self.tokens


def run_direct(load: Load) -> Side:
    """`LLM.generate` after a warm-up: the time of that one call."""
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as scratch:
        config = load.config(Path(scratch))
        run = resolve(config)
        assert isinstance(run.model, ModelEntry)
        llm = start_llm(run.model, load.device, config.resources, Path(scratch) / "engine.log", load.in_process)
        with ProcessorTime() as processor:
            warm_up(llm)
            processor.restart()
            done = generate(llm, run)
        limits = limits_of_a_step(llm.llm_engine.vllm_config)
        stop_llm(llm)
    return Side(done.tokens, done.seconds, sum(processor.seconds.values()), load_average(), limits)


def run_pipeline(load: Load) -> Side:
    """`evaluate`, from the first request after the warm-up until the last judged sample is in its file."""
    with tempfile.TemporaryDirectory(prefix="safechain-bench-") as scratch:
        config = load.config(Path(scratch))
        keep_committed_files()
        notes = Path(scratch) / "notes.txt"
        source = resolve(config).model.source
        with ProcessorTime() as processor:
            reporter = StreamWatcher(processor, has_begun=notes.exists)
            done = evaluate(config, reporter, TimedEngines(start_vllm, {source: notes}))
        assert done.errors == 0, "a row failed: the figures would not compare"
        marks = read_marks(notes)
        last_commit = max(file.stat().st_mtime for file in (Path(scratch) / "run/samples").glob("*.parquet"))
    return Side(
        marks.tokens,
        last_commit - marks.first_request,
        sum(reporter.cpu.values()),
        load_average(),
        marks.limits_of_a_step,
        marks.mean_in_engine,
    )


@click.command()
@click.option("--model", default="demo-reasoner", show_default=True, help="Catalog name, folder or Hugging Face id.")
@click.option("--family", help="Model family, if the catalog does not have it.")
@click.option("--device", type=click.Choice(get_args(Device)), help="cuda where there is one, else cpu.")
@click.option("--prompts", type=int, default=313, show_default=True, help="Number of different prompts.")
@click.option("--samples", type=int, default=8, show_default=True, help="Samples of each prompt.")
@click.option("--max-tokens", type=int, default=512, show_default=True, help="Most tokens of a response.")
@click.option(
    "--max-running", type=int, default=256, show_default=True, help="Requests that the engine decodes at once."
)
@click.option("--block-rows", type=int, default=32, show_default=True, help="resources.block_rows of the pipeline.")
@click.option("--in-process", is_flag=True, help="vllm.LLM without processes of its own: faster with a tiny model.")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Alternating runs of each side.")
def main(runs: int, device: Device | None, **load_options: object) -> None:
    """Generation through the pipeline against vllm.LLM.generate, in tokens/s; the target is a ratio of 0.95 or more.

    Same requests (prompts, sampling, seeds, max_tokens) and same engine arguments. Engine start and 32 warm-up
    requests are left out on both sides. Direct: the wall time of one LLM.generate call, prompts tokenised before.
    Pipeline: from the first request until the last sample is judged (refusal-match) and committed; templates,
    tokenising, splitting, judging and writing are in.
    """
    load = Load(device=device or default_device(), **load_options)  # type: ignore[arg-type]
    console = wide_console()
    show_machine(console)
    sides = ("tokens", "s", "tokens/s", "CPU µs a token")
    table = Table(
        "run",
        *(f"direct {name}" for name in sides),
        *(f"pipeline {name}" for name in sides),
        *("requests in engine", "ratio", "load"),
        title=f"Generation, {load.model}, {load.prompts} x {load.samples} requests, {load.max_running} running",
    )
    pairs = []
    for number in range(1, runs + 1):
        direct, pipeline = in_new_process(run_direct, load), in_new_process(run_pipeline, load)
        if direct.limits_of_a_step != pipeline.limits_of_a_step:
            limits = f"direct {direct.limits_of_a_step}, pipeline {pipeline.limits_of_a_step}"
            raise click.ClickException(f"The engines schedule differently (sequences, tokens a step): {limits}.")
        pairs.append((direct, pipeline))
        cells = [
            cell
            for side in (direct, pipeline)
            for cell in (
                f"{side.tokens:,}",
                f"{side.seconds:.1f}",
                f"{side.tokens_per_second:,.0f}",
                f"{side.cpu_microseconds:.0f}",
            )
        ]
        ratio = pipeline.tokens_per_second / direct.tokens_per_second
        in_engine = f"{pipeline.mean_in_engine:.0f}"
        table.add_row(str(number), *cells, in_engine, f"{ratio:.3f}", f"{direct.load:.1f}, {pipeline.load:.1f}")
    direct_speed = Spread.of([direct.tokens_per_second for direct, _ in pairs])
    speed = Spread.of([pipeline.tokens_per_second for _, pipeline in pairs])
    console.print(table)
    console.print(f"direct {direct_speed:,.0f} tokens/s; pipeline {speed:,.0f} tokens/s")
    console.print(f"ratio of the medians {speed.median / direct_speed.median:.3f} (target: {TARGET_RATIO} or more)")


if __name__ == "__main__":
    main()
