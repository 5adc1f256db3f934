"""`safechain-ray prefer`: which of two runs a judge prefers, response by response."""

import sys
from typing import Any

import click
from rich.console import Console

from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, by_key, interruptible, output_flags, quiet_libraries
from safechain_ray.cli.options import format_flag, show
from safechain_ray.config import PreferenceConfig, read_config_as

EXAMPLES = """\b
Examples:
  safechain-ray prefer runs/r1-70b runs/llama-70b --judge prefer-llama-3.3-70b -o runs/r1-or-llama
  safechain-ray prefer runs/a s3://bucket/runs/b --judge prefer-gpt-4o --strategy default --part response \\
      --set judge.endpoint.base_url=http://localhost:8000/v1 --set judge.endpoint.model=my-model \\
      --set judge.endpoint.api_key_env=MY_KEY
"""

KEYS = {
    "judge": "judge.name",
    "part": "part",
    "strategy": "strategies",
    "output": "output",
    "device": "resources.device",
    "gpu_memory": "resources.gpu_memory",
    "replicas": "resources.judge_replicas",
    "max_requests": "resources.max_requests",
    "ray_address": "resources.ray_address",
    "stall_timeout": "resources.stall_timeout_minutes",
}


@click.command(epilog=EXAMPLES)
@click.argument("run_a")
@click.argument("run_b")
@click.option("-j", "--judge", required=True, help="A judge of kind preference, by catalog name.")
@click.option("-s", "--strategy", multiple=True, help="Only settings of this strategy. Repeatable.")
@click.option("--part", help="response, thought or answer; the answer where both models have it apart.")
@click.option("-o", "--output", help="The folder of the preferences: a local path or URI.")
@click.option("--by-category", is_flag=True, help="A table by category as well.")
@click.option("--device", help="auto, cuda, or cpu, which insists on CPUs for any judge.")
@click.option("--gpu-memory", type=int, metavar="GB", help="Memory of each GPU; read from the GPUs by default.")
@click.option("--replicas", type=int, help="Engine replicas of the judge; by default as many as fit, one for 256 rows.")
@click.option("--max-requests", type=int, help="API: most requests that this try may send.")
@click.option("--ray-address", help="Join this Ray cluster; else RAY_ADDRESS, else a local Ray is started.")
@click.option("--stall-timeout", type=float, metavar="MINUTES", help="No progress for so long is an error.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="judge.… or resources.…")
@format_flag
@output_flags
def prefer(
    *,
    run_a: str,
    run_b: str,
    by_category: bool,
    shape: str,
    as_json: bool,
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Ask a judge which of two finished runs responds better, prompt by prompt: wins, ties, losses of RUN_A.

    Both responses to a prompt are shown twice, positions swapped: a win or a loss is one in both orders, anything else
    a tie. Settings are paired where they are equal, else by data set and strategy where that leaves no choice; prompts
    by id and text. The same command again continues. Exit code 3: some pairs are missing.
    """
    from safechain_ray.commands.prefer import prefer as run_preferring
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.preferences import preferences_document
    from safechain_ray.report.progress import progress_for

    config = read_config_as(PreferenceConfig, None, by_key(KEYS, flags), assignments)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_preferring(run_a, run_b, config, progress, start_vllm)
    if as_json:
        click.echo(done.preferences.model_dump_json(indent=2))
    else:
        show(preferences_document(done.preferences, by_category), shape)
        Console().print(f"Results: {done.folder.folder}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(ERRORS_IN_SAMPLES if done.preferences.missing else DONE)
