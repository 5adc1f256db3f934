"""The section of the fine-grained analysis: warnings where it is outdated, its plots, its tables, its notes."""

from collections.abc import Iterator

from safechain_ray.analysis.fine_grained import FineGrained, OutcomesByVerdict
from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics
from safechain_ray.report.document import printable
from safechain_ray.report.fine_grained import fine_grained_document
from safechain_ray.report.html.elements import Markup, element, html_caveats, html_notes, html_table, join
from safechain_ray.report.html.figure import figure
from safechain_ray.report.plots.fine_grained import analysis_plots
from safechain_ray.types import Outcome

UPDATE = "Fix: run `safechain-ray report RUN --fine-grained --html`."


def fine_grained_section(analysis: FineGrained, metrics: RunMetrics) -> Markup:
    """The analysis without its empty tables and plots. `metrics` show whether the run has changed since."""
    document = fine_grained_document(analysis)
    tables = [element("summary", f"{len(document.tables)} tables"), map(html_table, document.tables)]
    return join(
        html_caveats(_outdated_sentences(analysis, metrics)),
        map(figure, analysis_plots(analysis)),
        element("details", tables) if document.tables else None,
        html_notes(document.notes),
    )


def _outdated_sentences(analysis: FineGrained, metrics: RunMetrics) -> Iterator[str]:
    """How the run has changed since the analysis: verdicts of more judges, other prompts, repeated samples."""
    analysed = {(each.judge, each.part) for setting in analysis.settings for each in setting.outcomes}
    found = {(each.judge, each.part) for setting in metrics.settings for each in setting.judges}
    added = sorted(f"{printable(judge)} on the {part}" for judge, part in found - analysed)
    if added:
        yield f"The analysis was made before {', '.join(added)} was judged. {UPDATE}"
    ended = {setting.setting_id: _harmful(setting) for setting in metrics.settings}
    pairs = [(setting, ended.get(setting.setting_id, {})) for setting in analysis.settings]
    if any(
        (setting.rows if setting.harmful_rows is None else setting.harmful_rows) != sum(outcomes.values())
        for setting, outcomes in pairs
    ):
        yield f"The analysis covers other prompts than those that count as harmful above. {UPDATE}"
    elif any(_outcomes(each) != outcomes for setting, outcomes in pairs for each in setting.outcomes):
        yield f"The analysis was computed from samples that were generated again since. {UPDATE}"


def _harmful(setting: SettingMetrics) -> dict[Outcome, int]:
    """The outcomes of the samples of harmful prompts."""
    benign = setting.benign_categories or ()
    harmful = [found for category, found in setting.outcomes_by_category.items() if category not in benign]
    return {outcome: sum(found[outcome] for found in harmful) for outcome in OUTCOMES}


def _outcomes(each: OutcomesByVerdict) -> dict[Outcome, int]:
    return {outcome: each.safe[outcome] + each.unsafe[outcome] + each.missing[outcome] for outcome in OUTCOMES}
