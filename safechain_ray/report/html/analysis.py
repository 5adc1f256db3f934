"""The section of the fine-grained analysis: its plots, its tables, its notes, and whether it is out of date."""

from collections.abc import Iterator

from safechain_ray.analysis.fine_grained import FineGrained, SettingAnalysis
from safechain_ray.analysis.outcomes import OutcomesByVerdict
from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics
from safechain_ray.report import fine_grained
from safechain_ray.report.escape import printable
from safechain_ray.report.html.analysis_plots import analysis_plots
from safechain_ray.report.html.document_table import html_table
from safechain_ray.report.html.figure import figure
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.labels import common_sampling, setting_label
from safechain_ray.types import Outcome

ANEW = "`safechain-ray report RUN --fine-grained --html` makes it anew"

TABLES = (
    fine_grained.crosstab_table,
    fine_grained.length_table,
    fine_grained.curve_table,
    fine_grained.truncated_table,
    fine_grained.refusal_table,
    fine_grained.first_unsafe_table,
)


def fine_grained_section(analysis: FineGrained, metrics: RunMetrics) -> Markup:
    """All of the analysis; what has nothing to show is left out. `metrics` tell whether a judge came after it."""
    common = common_sampling(analysis.settings)

    def name(setting: SettingAnalysis) -> str:
        return setting_label(setting, common)

    tables = [table for make in TABLES if any((table := make(analysis.settings, name)).groups)]
    return join(
        [element("p", each, class_="caveat") for each in _lateness(analysis, metrics)],
        [figure(each) for each in analysis_plots(analysis)],
        element("details", element("summary", f"{len(tables)} tables"), map(html_table, tables)) if tables else None,
        element("ul", [element("li", printable(note)) for note in analysis.notes], class_="legend"),
    )


def _lateness(analysis: FineGrained, metrics: RunMetrics) -> Iterator[str]:
    """What the run has that the analysis has not seen: verdicts of a judge, samples that were done again."""
    held = {(each.judge, each.part) for setting in analysis.settings for each in setting.outcomes}
    found = {(each.judge, each.part) for setting in metrics.settings for each in setting.judges}
    late = sorted(f"{printable(judge)} on the {part}" for judge, part in found - held)
    if late:
        yield f"Made before {', '.join(late)} was judged: {ANEW}."
    ended = {setting.setting_id: _harmful(setting) for setting in metrics.settings}
    pairs = [(setting, ended.get(setting.setting_id, {})) for setting in analysis.settings]
    if any(
        (setting.rows if setting.harmful_rows is None else setting.harmful_rows) != sum(outcomes.values())
        for setting, outcomes in pairs
    ):
        yield f"Computed over other prompts than those that count as harmful above: {ANEW}."
    elif any(_outcomes(each) != outcomes for setting, outcomes in pairs for each in setting.outcomes):
        yield f"Made of samples that were done again since: {ANEW}."


def _harmful(setting: SettingMetrics) -> dict[Outcome, int]:
    """The outcomes of the samples of harmful prompts."""
    benign = setting.benign_categories or ()
    harmful = [found for category, found in setting.outcomes_by_category.items() if category not in benign]
    return {outcome: sum(found[outcome] for found in harmful) for outcome in OUTCOMES}


def _outcomes(each: OutcomesByVerdict) -> dict[Outcome, int]:
    return {outcome: each.safe[outcome] + each.unsafe[outcome] + each.missing[outcome] for outcome in OUTCOMES}
