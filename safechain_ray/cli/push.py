"""`safechain-ray push`: a run as a data set of the Hugging Face hub, or the same files in a folder."""

import json
from dataclasses import asdict

import click

from safechain_ray.cli.common import interruptible, output_options
from safechain_ray.errors import InputError
from safechain_ray.report.document import printable_lines
from safechain_ray.report.quiet import print_location

EXAMPLES = """\b
Examples:
  safechain-ray push runs/demo org/demo-safety
  safechain-ray push runs/r1-7b org/r1-7b-safety --public --include verdicts
  safechain-ray push runs/demo --output published/demo
  safechain-ray push s3://bucket/runs/r1-8b org/r1-8b-safety --include figures
"""


@click.command(epilog=EXAMPLES)
@click.argument("run")
@click.argument("repository", required=False, metavar="[OWNER/NAME]")
@click.option(
    "--private/--public",
    default=None,
    help="Visibility of a new repository; private by default. That of an existing one is not changed.",
)
@click.option(
    "--include",
    type=click.Choice(["texts", "verdicts", "figures"]),
    default="texts",
    show_default=True,
    help="texts: samples with prompts and responses. verdicts: samples without texts. figures: no samples.",
)
@click.option(
    "--with-restricted-prompts",
    is_flag=True,
    help="Publish the prompts of data sets that are gated or have no known licence too.",
)
@click.option("-o", "--output", metavar="FOLDER", help="Write the files to this folder or URI instead of the hub.")
@output_options
def push(
    *,
    run: str,
    repository: str | None,
    private: bool | None,
    include: str,
    with_restricted_prompts: bool,
    output: str | None,
    as_json: bool,
) -> None:
    """Publish a run as a data set of the Hugging Face hub.

    RUN is its folder or URI. The repository has samples, verdicts and figures as configs of `load_dataset`, and a card.
    A second push updates it by one commit. It needs HF_TOKEN or `hf auth login`; --output needs neither.
    """
    from safechain_ray.sharing.push import push_to_hub, read_publication, write_to_folder

    if repository is None and output is None:
        raise InputError("There is no place to push to. Fix: name a repository (OWNER/NAME), or give --output FOLDER.")
    if output is not None and private is not None:
        raise InputError("--private and --public are for the hub. Fix: leave them out with --output.")
    interruptible()
    publication = read_publication(run, include, with_restricted_prompts)  # type: ignore[arg-type]  # click's choice
    for warning in publication.warnings:
        click.echo(printable_lines(f"Warning: {warning}"), err=True)
    if output is not None:
        written = write_to_folder(publication, output, repository, lambda name: click.echo(f"Writing {name}", err=True))
    else:
        assert repository is not None
        written = push_to_hub(publication, repository, private, lambda name: click.echo(f"Uploading {name}", err=True))
    if as_json:
        facts = {"rows": publication.run.rows, "warnings": publication.warnings}
        click.echo(json.dumps({**asdict(written), **facts}, indent=2))
    else:
        print_location("Written" if output is not None else "Pushed", written.location)
