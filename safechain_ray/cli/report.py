"""`safechain-ray report`: the figures of a run or a sweep again, as tables or as a page."""

import json

import click

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.benchmark import print_benchmarks
from safechain_ray.cli.common import output_options
from safechain_ray.cli.options import by_category_option, format_option, paper_options, parse_stand_ins, show
from safechain_ray.cli.sweep import sweep_document, sweep_json
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import NO_STAND_INS, StandIns
from safechain_ray.report.quiet import print_location
from safechain_ray.runs.run_file import Kind
from safechain_ray.storage import Folder

CONTENT = {"benchmark": "benchmarks", "judge study": "a judge study", "preferences": "a comparison by a judge"}

EXAMPLES = """\b
Examples:
  safechain-ray report runs/demo --by-category
  safechain-ray report runs/demo --fine-grained
  safechain-ray report runs/mine --benign-category harmless
  safechain-ray report runs/r1-7b --paper
  safechain-ray report runs/demo --paper R1-7B --paper-dataset quickstart=strongreject
  safechain-ray report runs/r1-7b --format latex > tables.tex
  safechain-ray report runs/paper/main_table --paper
  safechain-ray report runs/study
  safechain-ray report runs/study --html
  safechain-ray report runs/demo --html
  safechain-ray report s3://bucket/runs/r1-7b --html r1-7b.html --samples-with-text 5000
"""


@click.command(epilog=EXAMPLES)
@click.argument("run")
@by_category_option
@click.option(
    "--fine-grained",
    is_flag=True,
    help="Show thought against answer, lengths, Safe@k by k, truncation, over-refusal and first unsafe piece, and "
    "write them to analysis.json in the run's folder.",
)
@click.option(
    "--benign-category",
    multiple=True,
    metavar="NAME",
    help="Category of benign prompts: they count for over-refusal and not for safety. Stored in the run, whose figures "
    "are then recomputed. Repeatable. Not needed for data sets of the catalog.",
)
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="[PATH]",
    help="Write the HTML report instead of tables: to PATH, a file or URI, or to report.html in the folder. Put it "
    "after RUN. A sweep's folder gets leaderboard.parquet and leaderboard.md too.",
)
@click.option(
    "--samples-with-text",
    type=click.IntRange(min=0),
    help="With --html: maximum number of samples with their texts; 50,000 by default, fewer where texts are long.",
)
@paper_options
@format_option
@output_options
def report(
    *,
    run: str,
    by_category: bool,
    fine_grained: bool,
    benign_category: tuple[str, ...],
    html: str | None,
    samples_with_text: int | None,
    paper: str | None,
    paper_dataset: tuple[str, ...],
    output_format: str,
    as_json: bool,
) -> None:
    """Print the figures of a finished run or sweep.

    RUN is its folder or URI. It may also be the folder of a benchmark, a judge study or `prefer`. --html writes the
    HTML report, which all of them have but `prefer`.
    """
    from safechain_ray.commands.fine_grained import name_benign
    from safechain_ray.commands.resolve_benchmark import read_benchmark_metrics
    from safechain_ray.commands.sweep.sweep import is_sweep
    from safechain_ray.runs.folder import kind_in
    from safechain_ray.storage import open_folder

    kind = kind_in(open_folder(run))
    if kind in ("benchmark", "judge study", "preferences"):
        is_benchmark = kind == "benchmark"
        for_runs = {
            "--by-category": by_category and kind != "preferences",
            "--fine-grained": fine_grained,
            "--benign-category": benign_category,
            "--samples-with-text": samples_with_text is not None and kind == "preferences",
            "--paper-dataset": paper_dataset,
            "--html": html is not None and kind == "preferences",
            "--paper": paper is not None and not is_benchmark,
        }
        if wrong := [flag for flag, given in for_runs.items() if given]:
            raise InputError(f"{wrong[0]} does not apply to {CONTENT[kind]} ({run}). Fix: leave {wrong[0]} out.")
        _refuse_limit_without_page(samples_with_text, html)
        if html is not None and is_benchmark:
            _benchmark_page(run, html, paper, samples_with_text, as_json)
        elif html is not None:
            _study_page(run, html, samples_with_text, as_json)
        elif is_benchmark:
            print_benchmarks(read_benchmark_metrics(open_folder(run)), paper, output_format, as_json)
        else:
            _of_judges(open_folder(run), kind, by_category, output_format, as_json)
        return
    stand_ins = parse_stand_ins(paper, paper_dataset)
    _refuse_limit_without_page(samples_with_text, html)
    if is_sweep(run):
        for_runs = {"--fine-grained": fine_grained, "--benign-category": benign_category}
        if wrong := [flag for flag, given in for_runs.items() if given]:
            raise InputError(
                f"{run} is a sweep, and {wrong[0]} takes one run. Fix: name the folder of one of its models."
            )
        _of_sweep(run, html, stand_ins, output_format, as_json)
        return
    if benign_category:
        name_benign(run, benign_category)
    if html is not None:
        _write_html(run, html, fine_grained, samples_with_text, stand_ins, as_json)
    elif fine_grained:
        _fine_grained(run, by_category, output_format, as_json)
    else:
        _metrics(run, by_category, stand_ins, output_format, as_json)


def _refuse_limit_without_page(samples_with_text: int | None, html: str | None) -> None:
    if samples_with_text is not None and html is None:
        raise InputError("--samples-with-text limits the HTML report. Fix: give --html too.")


def _benchmark_page(run: str, target: str, paper: str | None, samples_with_text: int | None, as_json: bool) -> None:
    from safechain_ray.report.html.write import write_benchmark_report
    from safechain_ray.storage import open_folder

    written = write_benchmark_report(open_folder(run), target or None, paper or None, samples_with_text)
    _print_report(written, as_json)


def _study_page(study: str, target: str, samples_with_text: int | None, as_json: bool) -> None:
    from safechain_ray.report.html.write import write_study_report
    from safechain_ray.storage import open_folder

    _print_report(write_study_report(open_folder(study), target or None, samples_with_text), as_json)


def _of_judges(folder: Folder, kind: Kind, by_category: bool, output_format: str, as_json: bool) -> None:
    """The figures of a finished judge study, or of two runs that a judge compared."""
    from safechain_ray.metrics.agreement import JudgeStudy
    from safechain_ray.metrics.preferences import Preferences
    from safechain_ray.report.comparison import preferences_document
    from safechain_ray.report.judge_study import study_document
    from safechain_ray.runs.folder import read_figures

    figures: JudgeStudy | Preferences
    if kind == "judge study":
        figures = read_figures(folder, "study.json", JudgeStudy, "judge study")
        document = study_document(figures)
    else:
        figures = read_figures(folder, "preferences.json", Preferences, "comparison by a judge")
        document = preferences_document(figures, by_category)
    if as_json:
        click.echo(figures.model_dump_json(indent=2))
    else:
        show(document, output_format)


def _of_sweep(run: str, html: str | None, stand_ins: StandIns | None, output_format: str, as_json: bool) -> None:
    from safechain_ray.commands.sweep.sweep import read_sweep
    from safechain_ray.report.html.write import write_sweep_report
    from safechain_ray.report.leaderboard import write_leaderboard
    from safechain_ray.storage import open_folder

    results = read_sweep(run)
    runs = tuple(results.metrics.values())
    document = sweep_document(runs, results.models, stand_ins)
    if html is not None:
        folder = open_folder(run)
        write_leaderboard(folder, runs, results.models, document)
        _print_report(write_sweep_report(folder, html or None, stand_ins or NO_STAND_INS), as_json)
        return
    if as_json:
        click.echo(sweep_json(results.models, runs))
    else:
        show(document, output_format)


def _metrics(run: str, by_category: bool, stand_ins: StandIns | None, output_format: str, as_json: bool) -> None:
    from safechain_ray.metrics.published import beside
    from safechain_ray.report.published import with_published
    from safechain_ray.report.tables import metrics_document
    from safechain_ray.runs.run_manifest import metrics_of

    metrics, figures = metrics_of(run), published_figures()
    found = None if stand_ins is None else beside(metrics, figures, stand_ins)
    if as_json:
        tree = metrics.model_dump(mode="json")
        if found is not None:
            tree["published"] = [each.model_dump(mode="json") for each in found]
        click.echo(json.dumps(tree, indent=2))
        return
    document = metrics_document(metrics, by_category)
    if stand_ins is not None and found is not None:
        document = with_published(document, metrics, found, figures, stand_ins)
    show(document, output_format)


def _write_html(
    run: str,
    target: str,
    fine_grained: bool,
    samples_with_text: int | None,
    stand_ins: StandIns | None,
    as_json: bool,
) -> None:
    """Write the HTML report; with `fine_grained`, after the analysis that it shows."""
    from safechain_ray.commands.fine_grained import analyse
    from safechain_ray.report.html.write import write_report
    from safechain_ray.storage import open_folder

    if fine_grained:
        analyse(run)
    _print_report(write_report(open_folder(run), target or None, samples_with_text, stand_ins or NO_STAND_INS), as_json)


def _print_report(written: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"report": written}))
    else:
        print_location("Report", written)


def _fine_grained(run: str, by_category: bool, output_format: str, as_json: bool) -> None:
    from safechain_ray.commands.fine_grained import analyse
    from safechain_ray.report.fine_grained import fine_grained_document

    analysis = analyse(run)
    if as_json:
        click.echo(analysis.model_dump_json(indent=2))
    else:
        show(fine_grained_document(analysis, by_category), output_format)
