"""`safechain-ray judge-study`: judges compared with human labels."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, interruptible, output_options
from safechain_ray.cli.options import (
    by_key,
    config_options,
    dataset_options,
    folder_option,
    html_option,
    judge_option,
    judge_resource_options,
    key_option,
)
from safechain_ray.config import StudyConfig, read_config_as
from safechain_ray.report.quiet import print_location, quiet_libraries

EXAMPLES = """\b
Examples:
  safechain-ray judge-study --data labels.csv --judge refusal-match
  safechain-ray judge-study --data labels.csv --prompt-column question --response-column answer \\
      --label-column label --judge llama-guard-3-8b --judge refusal-match --vote any --output studies/mine
  safechain-ray judge-study --data runs/imported --judge refusal-match
  safechain-ray judge-study --config paper/judge_study --profile demo
"""


@click.command("judge-study", epilog=EXAMPLES)
@config_options()
@key_option(
    "data",
    "--data",
    help="Labelled responses: file (CSV, JSON, JSONL, Parquet), folder, URI, Hugging Face id, catalog name; or the "
    "folder of an imported run with labels.",
)
@dataset_options("")
@key_option("response_column", "--response-column", help="Column that holds the responses; response by default.")
@key_option(
    "label_column",
    "--label-column",
    help="Column that holds the labels; label by default. Labels are safe and unsafe, or true/false and 1/0: true "
    "means safe in is_safe, and unsafe in harmful or label. For other labels use --unsafe-label.",
)
@key_option(
    "unsafe_labels",
    "--unsafe-label",
    multiple=True,
    help="A label that means unsafe; all other labels mean safe. Repeatable.",
)
@key_option("part", "--part", help="What the labels are about: response (default), thought, answer.")
@judge_option
@key_option(
    "votes", "--vote", multiple=True, help="Vote over all judges: majority, any or all must say unsafe. Repeatable."
)
@folder_option("study")
@judge_resource_options
@html_option()
@output_options
def judge_study(
    *, html: bool, as_json: bool, config: Path | None, profile: str | None, assignments: tuple[str, ...], **flags: Any
) -> None:
    """Compare judges with human labels.

    Prints accuracy, F1, Pearson's r and kappa. Writes study.json, study.md, study.svg, study.png and report.html, a
    page with every labelled response. The rows on which a judge and the label differ are in disagreements.parquet.
    Rerun the command to resume. Exit code 3: some verdicts are missing.
    """
    from safechain_ray.commands.judge_study import judge_study as run_study
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.html.write import write_study_report
    from safechain_ray.report.judge_study import study_document, write_study
    from safechain_ray.report.progress import progress_for
    from safechain_ray.report.renderers import print_document

    resolved = read_config_as(StudyConfig, config, by_key(flags), assignments, profile)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_study(resolved, progress, start_vllm)
        write_study(done.study, done.folder.folder)
    written = write_study_report(done.folder.folder) if html else None
    if as_json:
        click.echo(done.study.model_dump_json(indent=2))
    else:
        print_document(study_document(done.study), Console())
        print_location("Results", done.folder.folder)
        if written:
            print_location("Report", written)
    sys.exit(ERRORS_IN_SAMPLES if done.study.missing_verdicts else DONE)
