"""The page of a safety run: figures, plots, differences between strategies, the facts of run.json, the samples."""

from typing import Literal

from safechain_ray.analysis.fine_grained import FineGrained
from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import NO_STAND_INS, StandIns, beside
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.comparison import comparison_document
from safechain_ray.report.document import printable
from safechain_ray.report.html.analysis import fine_grained_section
from safechain_ray.report.html.browser import browser_section
from safechain_ray.report.html.definitions import OF_SAMPLES, with_glossary
from safechain_ray.report.html.elements import (
    Markup,
    Section,
    assemble,
    element,
    html_caveats,
    html_notes,
    html_table,
    join,
    term_link,
)
from safechain_ray.report.html.facts import run_facts
from safechain_ray.report.html.figure import figure
from safechain_ray.report.html.samples import PackedSamples
from safechain_ray.report.labels import common_sampling
from safechain_ray.report.plots.comparison import difference_plot, safety_lines
from safechain_ray.report.plots.run import run_plots
from safechain_ray.report.published import published_notes, published_table
from safechain_ray.report.tables import is_judged, notes, outcomes_table, safety_table, user_metrics_tables
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
    strategies: Comparison | None = None,
) -> str:
    """The whole report of one run. `run` is the content of its run.json, `analysis` that of its analysis.json.

    `strategies` are the differences between the strategies of the run. Published figures are shown beside the run's
    where there are some, of its own model or of those in `stand_ins`.
    """
    published = published_section(metrics, stand_ins)
    safety = [safety_table(metrics)] if is_judged(metrics) else []
    tables = (*safety, outcomes_table(metrics, with_tokens=True), *user_metrics_tables(metrics))
    sections = [
        Section("first", "Warnings and notes", know_first(metrics)),
        Section("figures", "Figures", join(map(html_table, tables))),
        *([] if published is None else [Section("published", "Beside the paper", published)]),
        *([Section("plots", "Plots", join(map(figure, run_plots(metrics))))] if is_judged(metrics) else []),
        *([] if strategies is None else [Section("strategies", "Strategies compared", _strategies(strategies))]),
        *([] if analysis is None else [Section("analysis", "Fine-grained", fine_grained_section(analysis, metrics))]),
        Section("run", "The run", run_facts(run)),
        browser_section(samples),
    ]
    title = f"Safety of {printable(metrics.model)}"
    return assemble(title, _run_line(metrics, run), with_glossary(sections, OF_SAMPLES), samples)


def published_section(metrics: RunMetrics, stand_ins: StandIns) -> Markup | None:
    """The published figures beside ours; None where nothing was published of the run's model and settings."""
    figures = published_figures()
    found = beside(metrics, figures, stand_ins)
    if not found:
        return None
    table = published_table(metrics, found, figures)
    return join(html_table(table), html_notes(published_notes(metrics, found, figures, stand_ins)))


def _strategies(comparison: Comparison) -> Markup:
    """What each strategy changes, prompt by prompt: a plot, then the table with its tests."""
    lines = [line for _, line in safety_lines(comparison)]
    document = comparison_document(comparison)
    title = f"Strategies against {printable(comparison.baseline)}"
    return join(
        figure(difference_plot("strategy-differences", title, lines)) if lines else None,
        *map(html_table, document.tables),
        html_notes(document.notes),
    )


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
        _tile(sum(setting.outcomes[outcome] for setting in metrics.settings), rows, "samples", words, outcome)
        for outcome, words in BAD_OUTCOMES.items()
    ]
    return join(
        html_caveats(metrics.caveats),
        element("ul", tiles, _tile(missing, verdicts, "verdicts", "are missing", "missing"), class_="tiles"),
        _notes(notes(metrics)),
    )


def _notes(found: list[str]) -> Markup:
    if not found:
        return element("p", "Every row is there, and no figure rests on few prompts.", class_="legend")
    summary = element("summary", f"{len(found):,} notes to read with care")
    return element(
        "details", summary, element("ul", [element("li", note) for note in found]), open=len(found) < OPEN_NOTES
    )


def _tile(count: int, of: int, noun: str, words: str, key: Outcome | Literal["missing"]) -> Markup:
    term = "missing-verdicts" if key == "missing" else key
    return element(
        "li",
        element("strong", f"{count:,}"),
        element("span", f"of {of:,} {noun} ", term_link(term, words)),
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
