"""`safechain-ray prefer`: which of two runs a judge prefers, response by response."""

import sys
from typing import Any

import click

from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, interruptible, output_options
from safechain_ray.cli.options import (
    by_category_option,
    by_key,
    folder_option,
    format_option,
    gpu_memory_option,
    judge_resource_options,
    key_option,
    max_requests_option,
    set_option,
    show,
)
from safechain_ray.config import PreferenceConfig, read_config_as
from safechain_ray.report.quiet import print_location, quiet_libraries

EXAMPLES = """\b
Examples:
  safechain-ray prefer runs/r1-70b runs/llama-70b --judge prefer-llama-3.3-70b -o runs/r1-or-llama
  safechain-ray prefer runs/a s3://bucket/runs/b --judge prefer-gpt-4o --strategy default --part response \\
      --set judge.endpoint.base_url=http://localhost:8000/v1 --set judge.endpoint.model=my-model \\
      --set judge.endpoint.api_key_env=MY_KEY
"""


@click.command(epilog=EXAMPLES)
@click.argument("run_a")
@click.argument("run_b")
@key_option("judge.name", "-j", "--judge", required=True, help="Judge of kind preference, by catalog name.")
@key_option("strategies", "-s", "--strategy", multiple=True, help="Only settings of this strategy. Repeatable.")
@key_option(
    "part",
    "--part",
    help="What is compared: response, thought or answer; by default the answer if both runs have it.",
)
@folder_option("comparison")
@by_category_option
@gpu_memory_option
@max_requests_option
@judge_resource_options
@set_option("Set a key below judge or resources. Repeatable.")
@format_option
@output_options
def prefer(
    *,
    run_a: str,
    run_b: str,
    by_category: bool,
    output_format: str,
    as_json: bool,
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Ask a judge which of two finished runs responds better.

    Prints wins, ties and losses of RUN_A over all prompts. The judge reads both responses to a prompt twice, with
    swapped positions. A win or a loss is the same decision in both orders, and all else is a tie. Settings are paired
    if they are equal, else by data set and strategy if there is only one choice; prompts by id and text. Rerun the
    command to resume. Exit code 3: some pairs are missing.
    """
    from safechain_ray.commands.prefer import prefer as run_preferring
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.comparison import preferences_document
    from safechain_ray.report.progress import progress_for

    config = read_config_as(PreferenceConfig, None, by_key(flags), assignments)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_preferring(run_a, run_b, config, progress, start_vllm)
    if as_json:
        click.echo(done.preferences.model_dump_json(indent=2))
    else:
        show(preferences_document(done.preferences, by_category), output_format)
        print_location("Results", done.folder.folder)
    sys.exit(ERRORS_IN_SAMPLES if done.preferences.missing else DONE)
