"""`safechain-ray report`: the figures of a run again, as tables or as a page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from rich.console import Console

from safechain_ray.cli.frame import output_flags
from safechain_ray.errors import InputError

if TYPE_CHECKING:
    from safechain_ray.analysis.fine_grained import FineGrained

EXAMPLES = """\b
Examples:
  safechain-ray report runs/demo --by-category
  safechain-ray report runs/demo --fine-grained
  safechain-ray report runs/demo --html
  safechain-ray report s3://bucket/runs/r1-7b --html r1-7b.html --samples-with-text 5000
"""


@click.command(epilog=EXAMPLES)
@click.argument("run")
@click.option("--by-category", is_flag=True, help="A table by category as well.")
@click.option(
    "--fine-grained",
    is_flag=True,
    help="Thought against answer, lengths, Safe@k by k, truncation, over-refusal, first unsafe piece; all of it goes "
    "to analysis.json in the run's folder.",
)
@click.option(
    "--benign-category",
    multiple=True,
    metavar="NAME",
    help="With --fine-grained: to refuse prompts of this category is over-refusal. Repeatable; the catalog knows those "
    "of its own data sets.",
)
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="[PATH]",
    help="Write the HTML report instead: to PATH, a file or URI, or to report.html in the run's folder.",
)
@click.option(
    "--samples-with-text",
    type=click.IntRange(min=0),
    help="With --html: the samples whose texts the report holds at most, 50,000 by default (about 40 MB at 2 kB each).",
)
@output_flags
def report(
    *,
    run: str,
    by_category: bool,
    fine_grained: bool,
    benign_category: tuple[str, ...],
    html: str | None,
    samples_with_text: int | None,
    as_json: bool,
) -> None:
    """Print the figures of a run again, or make its HTML report. RUN is its folder or URI."""
    if benign_category and not fine_grained:
        raise InputError("--benign-category is for the fine-grained analysis: give --fine-grained too.")
    if samples_with_text is not None and html is None:
        raise InputError("--samples-with-text says how much the HTML report holds: give --html beside it.")
    analysis = _analyse(run, benign_category) if fine_grained else None
    if html is not None:
        _write_html(run, html, samples_with_text, as_json)
    elif analysis is not None:
        _show_fine_grained(analysis, by_category, as_json)
    else:
        _show_metrics(run, by_category, as_json)


def _analyse(run: str, benign: tuple[str, ...]) -> FineGrained:
    from safechain_ray.pipelines.fine_grained import analyse

    return analyse(run, benign)


def _show_metrics(run: str, by_category: bool, as_json: bool) -> None:
    from safechain_ray.pipelines.run_folder import read_metrics
    from safechain_ray.report.tables import render_metrics

    metrics = read_metrics(run)
    if as_json:
        click.echo(metrics.model_dump_json(indent=2))
    else:
        render_metrics(metrics, Console(), by_category=by_category)


def _show_fine_grained(analysis: FineGrained, by_category: bool, as_json: bool) -> None:
    from safechain_ray.report.fine_grained import render_fine_grained

    if as_json:
        click.echo(analysis.model_dump_json(indent=2))
    else:
        render_fine_grained(analysis, Console(), by_category=by_category)


def _write_html(run: str, target: str, samples_with_text: int | None, as_json: bool) -> None:
    from safechain_ray.report.html.samples import WITH_TEXT
    from safechain_ray.report.html.write import write_report
    from safechain_ray.storage import open_folder

    with_text = WITH_TEXT if samples_with_text is None else samples_with_text
    written = write_report(open_folder(run), target or None, with_text)
    if as_json:
        click.echo(json.dumps({"report": written}))
    else:
        Console().print(f"Report: {written}", highlight=False, markup=False, soft_wrap=True)
