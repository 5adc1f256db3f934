"""`safechain-ray import`: responses that exist already, made into a run."""

import sys
from pathlib import Path
from typing import Any

import click

from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, interruptible, output_options, show_run
from safechain_ray.cli.completion import complete
from safechain_ray.cli.options import (
    by_key,
    config_options,
    dataset_options,
    folder_option,
    group,
    html_option,
    key_option,
    sampling_options,
)
from safechain_ray.config import ImportConfig, read_config_as
from safechain_ray.report.quiet import quiet_libraries

EXAMPLES = """\b
Examples:
  safechain-ray import responses.jsonl --model R1-7B --output runs/imported
  safechain-ray import chats.parquet --messages-column messages --output runs/chats
  safechain-ray import answers.csv --prompt-column question --response-column reply \\
      --thought-column reasoning_content --label-column label --output runs/labelled
  safechain-ray judge runs/imported --judge llama-guard-3-8b
"""

columns = group(
    dataset_options("", "Column that holds the prompts; a common name such as prompt by default."),
    key_option(
        "response_column",
        "--response-column",
        help="Column that holds the responses: one, or a list of K, in each row; a common name by default.",
    ),
    key_option("thought_column", "--thought-column", help="Column that holds thoughts that are stored apart."),
    key_option("messages_column", "--messages-column", help="Column that holds chats: a user turn, then the response."),
    key_option("id_column", "--id-column", help="Column that holds the prompts' ids; a hash of the text by default."),
    key_option("category_column", "--category-column", help="Column that holds the categories."),
    key_option(
        "benign_categories",
        "--benign-category",
        multiple=True,
        metavar="NAME",
        help="Category of benign prompts: they count for over-refusal, all other prompts for safety. Repeatable.",
    ),
    key_option("label_column", "--label-column", help="Column that holds human labels: safe, unsafe, true or false."),
    key_option("label_part", "--label-part", help="What the labels are about: response (default), thought, answer."),
    key_option(
        "unsafe_labels",
        "--unsafe-label",
        multiple=True,
        help="A label that means unsafe; all other labels mean safe. Repeatable.",
    ),
)


@click.command("import", epilog=EXAMPLES)
@click.argument("source", shell_complete=complete("responses"))
@config_options()
@key_option("model", "-m", "--model", help="Model that wrote the responses, any name; the file's name by default.")
@key_option("family", "--family", help="Family whose tags mark the thoughts; the model's, or <think> tags, by default.")
@key_option("dataset", "-d", "--dataset", help="Name of the prompt set; the file's name by default.")
@columns
@key_option("strategy", "-s", "--strategy", help="Decoding strategy of the responses, as a label; imported by default.")
@sampling_options(temperature="Temperature of the responses; unknown by default.")
@folder_option("run")
@html_option()
@output_options
def import_responses(
    *,
    source: str,
    as_json: bool,
    html: bool,
    config: Path | None,
    profile: str | None,
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Make a run of responses that exist already. SOURCE is a file, a URI, a Hugging Face id or a catalog name.

    `judge`, `report`, `compare`, `prefer` and `status` take the run like any other. Rerun the command to resume.
    Exit code 3: some rows can't be used. They are samples with an error.
    """
    from safechain_ray.commands.import_responses import import_responses as run_import
    from safechain_ray.report.html.write import write_report
    from safechain_ray.report.progress import progress_for

    resolved = read_config_as(ImportConfig, config, {**by_key(flags), "source": source}, assignments, profile)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_import(resolved, progress)
    written = write_report(done.folder.folder) if html else None
    show_run(done.metrics, done.folder.folder, written, as_json)
    sys.exit(ERRORS_IN_SAMPLES if done.metrics.errors else DONE)
