"""The pages of one run folder: a safety run with its samples, and a benchmark run."""

from typing import Literal

from safechain_ray.analysis.fine_grained import FineGrained
from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.published import NO_STAND_INS, StandIns, beside, published_passes
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.benchmark import benchmark_document
from safechain_ray.report.benchmark import published_notes as published_benchmark_notes
from safechain_ray.report.benchmark import published_table as published_benchmark_table
from safechain_ray.report.escape import printable
from safechain_ray.report.html.analysis import fine_grained_section
from safechain_ray.report.html.document import caveats_and_notes, html_caveats, html_notes, html_table
from safechain_ray.report.html.facts import run_facts
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.html.page import Section, assemble, read_asset
from safechain_ray.report.html.plot import figure
from safechain_ray.report.html.plots import run_plots
from safechain_ray.report.html.samples import PackedSamples
from safechain_ray.report.labels import common_sampling
from safechain_ray.report.published import published_notes, published_table
from safechain_ray.report.tables import notes, outcomes_table, safety_table
from safechain_ray.runs.run_file import RunFile
from safechain_ray.types import Outcome

BAD_OUTCOMES: dict[Outcome, str] = {
    "error": "ended with an error",
    "blocked": "were blocked by the provider",
    "truncated": "were cut off before their end",
}

OPEN_NOTES = 6
"""The list of notes starts folded from so many on."""


def run_page(
    metrics: RunMetrics,
    run: RunFile,
    samples: PackedSamples,
    analysis: FineGrained | None = None,
    stand_ins: StandIns = NO_STAND_INS,
) -> str:
    """The whole report of one run. `run` is the content of its run.json, `analysis` that of its analysis.json.

    Published figures are shown beside the run's where there are some, of its own model or of those in `stand_ins`.
    """
    published = published_section(metrics, stand_ins)
    tables = (safety_table(metrics), outcomes_table(metrics, with_tokens=True))
    sections = [
        Section("first", "To know first", know_first(metrics)),
        Section("figures", "Figures", join(map(html_table, tables))),
        *([] if published is None else [Section("published", "Beside the paper", published)]),
        Section("plots", "Plots", join(map(figure, run_plots(metrics)))),
        *([] if analysis is None else [Section("analysis", "Fine-grained", fine_grained_section(analysis, metrics))]),
        Section("run", "The run", run_facts(run)),
        Section("samples", "Samples", _browser(samples)),
    ]
    return assemble(f"Safety of {printable(metrics.model)}", _run_line(metrics, run), sections, samples)


def benchmark_page(metrics: BenchmarkRunMetrics, run: RunFile, stand_in: str | None = None) -> str:
    """`run` is the content of run.json; published figures are of the run's own model, or of `stand_in`."""
    document = benchmark_document(metrics)
    figures = published_figures()
    found = published_passes(metrics, figures.finetuning, stand_in)
    published = (
        join(
            html_table(published_benchmark_table(metrics, found, figures)), html_notes(published_benchmark_notes(found))
        )
        if found
        else None
    )
    complete = "Every problem was asked, and no grade is missing."
    sections = [
        Section("first", "To know first", caveats_and_notes(document, complete)),
        Section("figures", "Figures", join(map(html_table, document.tables))),
        *([] if published is None else [Section("published", "Beside the paper", published)]),
        Section("run", "The run", run_facts(run)),
    ]
    rows = sum(figures.rows for figures in metrics.benchmarks)
    line = f"{rows:,} samples · {len(metrics.benchmarks)} benchmark{'s' if len(metrics.benchmarks) > 1 else ''}"
    return assemble(f"Benchmarks of {printable(metrics.model)}", line, sections)


def published_section(metrics: RunMetrics, stand_ins: StandIns) -> Markup | None:
    """The published figures beside ours; None where nothing was published of the run's model and settings."""
    figures = published_figures()
    found = beside(metrics, figures, stand_ins)
    if not found:
        return None
    table = published_table(metrics, found, figures)
    return join(html_table(table), html_notes(published_notes(metrics, found, figures, stand_ins)))


def know_first(metrics: RunMetrics) -> Markup:
    """Caveats, then counts of bad outcomes and missing verdicts, then the notes on single settings."""
    rows = sum(setting.rows for setting in metrics.settings)
    verdicts = sum(
        (judge.prompts + setting.benign_prompts) * setting.samples
        for setting in metrics.settings
        for judge in setting.judges
    )
    missing = sum(judge.all_missing for setting in metrics.settings for judge in setting.judges)
    tiles = [
        _tile(sum(setting.outcomes[outcome] for setting in metrics.settings), rows, f"samples {words}", outcome)
        for outcome, words in BAD_OUTCOMES.items()
    ]
    return join(
        html_caveats(metrics.caveats),
        element("ul", tiles, _tile(missing, verdicts, "verdicts are missing", "missing"), class_="tiles"),
        _notes(notes(metrics)),
    )


def _notes(found: list[str]) -> Markup:
    if not found:
        return element("p", "Every row is there, and no figure rests on few prompts.", class_="legend")
    summary = element("summary", f"{len(found):,} notes to read with care")
    return element(
        "details", summary, element("ul", [element("li", note) for note in found]), open=len(found) < OPEN_NOTES
    )


def _tile(count: int, of: int, words: str, key: Outcome | Literal["missing"]) -> Markup:
    return element(
        "li",
        element("strong", f"{count:,}"),
        element("span", f"of {of:,} {words}"),
        class_="tile warn" if count else "tile",
        data_count=key,
    )


def _run_line(metrics: RunMetrics, run: RunFile) -> str:
    counts = (
        (sum(setting.rows for setting in metrics.settings), "samples"),
        (len(metrics.settings), "settings"),
        (len({judge.name for judge in run.identity.judges or ()} | set(run.added)), "judges"),
    )
    ended = f"ended {run.finished:%Y-%m-%d}" if run.finished else "not ended"
    sampling = " ".join(common_sampling(metrics.settings).values())
    counted = [f"{count:,} {words if count != 1 else words[:-1]}" for count, words in counts]
    return " · ".join([*counted, *filter(None, [sampling]), ended])


def _browser(samples: PackedSamples) -> Markup:
    words = f"{samples.rows:,} samples."
    if samples.with_text < samples.rows:
        words += (
            f" The texts of {samples.with_text:,} of them, drawn at random, are in this file; the run's folder holds "
            "all. Search finds only samples with text."
        )
    warning = "Responses to harmful prompts can be harmful, so texts are blurred until you ask for them."
    return join(element("p", f"{words} {warning}", class_="legend"), Markup(read_asset("browser.html")))
