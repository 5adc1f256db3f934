"""`safechain-ray benchmark`: how well one model reasons."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import (
    DONE,
    ERRORS_IN_SAMPLES,
    batch_invariant_flag,
    by_key,
    interruptible,
    only_given,
    output_flags,
    profile_flag,
    quiet_libraries,
)
from safechain_ray.cli.options import format_flag, show
from safechain_ray.config import BenchmarkConfig, read_config_as
from safechain_ray.errors import InputError
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.published import published_passes

EXAMPLES = """\b
Examples:
  safechain-ray benchmark --model R1-7B --benchmark gsm8k --benchmark mbpp --output runs/r1-7b-benchmarks
  safechain-ray benchmark --model R1-7B --benchmark math500=./math500.jsonl --limit 50 --paper
  safechain-ray benchmark --model R1-7B --benchmark humaneval --benchmark mbpp --style evalplus --paper
  safechain-ray benchmark --model ./tuned --family r1 --benchmark aime24 --samples 16 --temperature 0.6 \\
      --top-p 0.95 --pass-at 1 --pass-at 4 --pass-at 16
  safechain-ray benchmark --config configs/paper/benchmarks.yaml --output s3://bucket/r1-7b-benchmarks
"""

KEYS = {
    "model": "model.name",
    "family": "model.family",
    "base_url": "model.base_url",
    "strategy": "strategy",
    "samples": "samples",
    "pass_at": "pass_at",
    "output": "output",
    **{key: f"sampling.{key}" for key in ("temperature", "top_p", "top_k", "max_tokens", "repetition_penalty", "seed")},
    **{
        key: f"resources.{key}"
        for key in (
            *("device", "gpu_memory", "accelerator", "batch_invariant", "replicas"),
            *("max_cost", "max_requests", "ray_address"),
        )
    },
    "stall_timeout": "resources.stall_timeout_minutes",
}

PAPER = "The paper's figures beside ours: those of the same model, or of MODEL (R1-7B, R1-7B-safechain, …)."


@click.command(epilog=EXAMPLES)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Benchmark config in YAML; flags win over it.")
@profile_flag
@click.option("-m", "--model", help="Catalog name, Hugging Face id or folder (local, s3://, gs://).")
@click.option("--family", help="Model family, for a model that the catalog does not hold.")
@click.option("--base-url", metavar="URL", help="Endpoint of a model behind an API (--model openai:ID).")
@click.option(
    "-b",
    "--benchmark",
    multiple=True,
    metavar="NAME[=SOURCE]",
    help="Catalog name; its rows from SOURCE. Repeatable.",
)
@click.option("--limit", type=int, help="Only the first so many problems of each benchmark.")
@click.option(
    "--style",
    metavar="NAME",
    help="How each --benchmark is asked and graded: default, or as in the paper: evalplus (humaneval, mbpp, "
    "mbpp-full), skythought (livecodebench).",
)
@click.option("-s", "--strategy", help="default, zerothink, lessthink or morethink.")
@click.option("-k", "--samples", type=int, help="K, the samples of each problem; 1 by default.")
@click.option("--pass-at", type=int, multiple=True, metavar="k", help="A k of pass@k; 1 and K by default. Repeatable.")
@click.option("--temperature", type=float, help="0, greedy decoding, by default.")
@click.option("--top-p", type=float, help="Nucleus sampling, in (0, 1].")
@click.option("--top-k", type=int, help="-1 for all tokens.")
@click.option("--max-tokens", type=int, help="Most tokens of a response; by default each benchmark's own.")
@click.option("--repetition-penalty", type=float, help="By default each benchmark's own: 1.1 for code.")
@click.option("--seed", type=int, help="Seed of the run.")
@click.option("-o", "--output", help="The run's folder: a local path or URI.")
@click.option("--device", help="auto, cuda, or cpu, which insists on CPUs for any model.")
@click.option("--gpu-memory", type=int, metavar="GB", help="Memory of each GPU; read from the GPUs by default.")
@click.option("--accelerator", metavar="KIND", help="Only GPUs of this kind, as Ray names it: L4, L40S, H100.")
@batch_invariant_flag
@click.option("--replicas", type=int, help="Engine replicas of the model; by default as many as fit, one for 256 rows.")
@click.option("--max-cost", type=float, metavar="DOLLARS", help="API: most that this try may spend.")
@click.option("--max-requests", type=int, help="API: most requests that this try may send.")
@click.option("--ray-address", help="Join this Ray cluster; else RAY_ADDRESS, else a local Ray is started.")
@click.option("--stall-timeout", type=float, metavar="MINUTES", help="No progress for so long is an error.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the config.")
@click.option("--paper", is_flag=False, flag_value="", metavar="[MODEL]", help=PAPER)
@click.option("--html/--no-html", default=True, help="Write report.html at the end (the default), or leave it out.")
@format_flag
@output_flags
def benchmark(*, paper: str | None, html: bool, shape: str, as_json: bool, **flags: Any) -> None:
    """Run reasoning benchmarks on one model and grade its answers: pass@1, pass@k. The same command again continues.

    The model is loaded once for all benchmarks, and answers are graded as they come: mathematics by algebra, code by
    running it in a sandbox on every CPU of the cluster (docs/sandbox.md). Without a working sandbox no code is run.
    Exit code 3: some samples ended with an error, or could not be graded.
    """
    from safechain_ray.commands.benchmark import benchmark as run_benchmarks
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.html.write import write_benchmark_report
    from safechain_ray.report.progress import progress_for

    config = _config(**flags)
    if paper:
        check_published(paper)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_benchmarks(config, progress, start_vllm)
    written = write_benchmark_report(done.folder.folder, stand_in=paper or None) if html else None
    tell_benchmarks(done.metrics, paper, shape, as_json)
    if not as_json:
        console = Console()
        for name, place in (("Results", str(done.folder.folder)), ("Report", written)):
            if place:
                console.print(f"{name}: {place}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(ERRORS_IN_SAMPLES if done.errors else DONE)


def tell_benchmarks(metrics: BenchmarkRunMetrics, paper: str | None, shape: str, as_json: bool) -> None:
    """Print the figures; with `paper` the published ones beside them, of that model or, where it is empty, of ours."""
    from safechain_ray.report.benchmark import benchmark_document, with_published_passes

    figures = published_figures()
    found = None if paper is None else published_passes(metrics, figures.finetuning, paper or None)
    if as_json:
        tree = metrics.model_dump(mode="json")
        if found is not None:
            tree["published"] = [each.model_dump(mode="json") for each in found]
        click.echo(json.dumps(tree, indent=2))
        return
    document = benchmark_document(metrics)
    show(document if found is None else with_published_passes(document, metrics, found, figures), shape)


def check_published(model: str) -> None:
    """Raises UnknownNameError for a model of which no benchmark was published."""
    published_passes(BenchmarkRunMetrics(model=model, benchmarks=()), published_figures().finetuning, model)


def _config(
    *,
    config: Path | None,
    profile: str | None,
    assignments: tuple[str, ...],
    benchmark: tuple[str, ...],
    limit: int | None,
    style: str | None,
    **flags: Any,
) -> BenchmarkConfig:
    given = by_key(KEYS, flags)
    of_each = only_given({"limit": limit, "style": style})
    if benchmark:
        given["benchmarks"] = [_choice(each, of_each) for each in benchmark]
    elif of_each:
        raise InputError(f"--{next(iter(of_each))} needs a --benchmark. Fix: add --benchmark.")
    return read_config_as(BenchmarkConfig, config, given, assignments, profile)


def _choice(text: str, of_each: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark as a flag names it: `math500`, or `math500=./math500.jsonl`."""
    name, equals, source = text.partition("=")
    if not name or (equals and not source):
        raise InputError(f"--benchmark {text}: write NAME or NAME=SOURCE, for example math500=./math500.jsonl.")
    return {"name": name, **only_given({"source": source or None}), **of_each}
