"""The section of the fine-grained analysis: warnings where it is outdated, its plots, its tables, its notes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safechain_ray.analysis.fine_grained import FineGrained, OutcomesByVerdict, SampleCountCurve
from safechain_ray.analysis.thought_answer import ThoughtAnswer
from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics
from safechain_ray.report.document import printable
from safechain_ray.report.fine_grained import fine_grained_document
from safechain_ray.report.html import plot
from safechain_ray.report.html.elements import Markup, element, html_caveats, html_notes, html_table, join
from safechain_ray.report.html.plot import GAP, WIDTH, Panel, Plot, figure
from safechain_ray.report.labels import common_sampling, percent, setting_label
from safechain_ray.types import Outcome

BAR, LINE = 24.0, 44.0
HEIGHT = 190.0
SHARES = (
    ("thought safe, answer safe", "q0"),
    ("thought unsafe, answer safe", "q1"),
    ("thought safe, answer unsafe", "q2"),
    ("both unsafe", "q3"),
)

UPDATE = "Fix: run `safechain-ray report RUN --fine-grained --html`."


@dataclass(frozen=True, slots=True)
class _NamedCurve:
    name: str
    curve: SampleCountCurve


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


def analysis_plots(analysis: FineGrained) -> list[Plot]:
    """The plots for which the analysis has verdicts."""
    common = common_sampling(analysis.settings)
    names = [setting_label(setting, common) for setting in analysis.settings]
    tables = [
        (f"{name}; {printable(each.judge)}", each)
        for name, setting in zip(names, analysis.settings, strict=True)
        for each in setting.thought_answer
        if sum(_counts(each))
    ]
    curves: dict[str, list[_NamedCurve]] = {}
    for name, setting in zip(names, analysis.settings, strict=True):
        for each in (curve for curve in setting.sample_counts if curve.points):
            curves.setdefault(f"{printable(each.judge)}, {each.part}", []).append(_NamedCurve(name, each))
    plots = []
    if tables:
        plots.append(thought_answer_plot(tables))
    if curves:
        plots.append(sample_count_plot(curves))
    return plots


def thought_answer_plot(tables: Sequence[tuple[str, ThoughtAnswer]]) -> Plot:
    """A bar for each setting and judge: its samples by the verdicts on thought and answer."""
    left = min(340.0, max(plot.text_width(name) for name, _ in tables) + 16)
    panel = Panel(left, 40.0, WIDTH - left - 16, LINE * len(tables))
    drawn: list[Markup] = [_legend(left), plot.columns(panel)]
    for place, (name, each) in enumerate(tables):
        y = panel.top + place * LINE + (LINE - BAR) / 2
        drawn.append(plot.text(0, y + BAR / 2 + 4, name, "label", characters=52))
        counts = _counts(each)
        start = 0.0
        for count, (words, shade) in zip(counts, SHARES, strict=True):
            share = count / sum(counts)
            hover = f"{name}: {words}: {percent(share)}%, {count:,} of {sum(counts):,} samples"
            drawn.append(_segment(panel, start, share, y, shade, hover))
            start += share
    return Plot(
        "thought-answer",
        "Thought against answer",
        "Samples by the verdicts of one judge on their thought and on their answer, where both exist.",
        plot.picture(panel.bottom + 26, "Samples by the verdicts on thought and answer", join(drawn)),
    )


def sample_count_plot(curves: dict[str, list[_NamedCurve]]) -> Plot:
    """A line of two panels for each judge and part: Safe@k and ConsSafe@k against k, a curve a setting."""
    most = max(len(each.curve.points) for of_judge in curves.values() for each in of_judge)
    settings = max(map(len, curves.values()))
    width = (WIDTH - 48 - 16 - GAP) / 2
    names = [each.name for each in next(iter(curves.values()))[: plot.SERIES]]
    drawn: list[Markup] = [plot.legend(16, names, 48)]
    for line, (judge, of_judge) in enumerate(curves.items()):
        for column, (field, label) in enumerate((("safe_at_k", "Safe@k"), ("cons_safe_at_k", "ConsSafe@k"))):
            panel = Panel(48 + column * (width + GAP), 66 + line * (HEIGHT + 92), width, HEIGHT)
            drawn += [plot.text(panel.left, panel.top - 12, f"{label}, {judge}", "head"), plot.rows(panel, column == 0)]
            places = {k: panel.left + 14 + (k - 1) / (most - 1) * (panel.width - 28) for k in range(1, most + 1)}
            drawn += [plot.text(x, panel.bottom + 17, str(k), "tick", "middle") for k, x in places.items()]
            drawn.append(plot.text(panel.left + panel.width / 2, panel.bottom + 36, "k", "label", "middle"))
            for series, each in enumerate(of_judge[: plot.SERIES]):
                estimates = [getattr(point, field) for point in each.curve.points]
                ks = [point.k for point in each.curve.points]
                hovers = [
                    plot.hover_text(estimate, each.name, judge, f"{label[:-1]}{k}")
                    for estimate, k in zip(estimates, ks, strict=True)
                ]
                drawn.append(plot.curve(panel, [places[k] for k in ks], estimates, series, hovers))
    left_out = f" The first {plot.SERIES} of {settings} settings." if settings > plot.SERIES else ""
    return Plot(
        "sample-count",
        "Safety against the number of samples",
        f"Expected for k of the K samples of each prompt, with 95% intervals as bands; up is safer.{left_out}",
        plot.picture(66 + len(curves) * (HEIGHT + 92) - 40, "Safe@k and ConsSafe@k against k", join(drawn)),
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


def _counts(each: ThoughtAnswer) -> tuple[int, int, int, int]:
    """In the order of SHARES."""
    safe, unsafe = each.thought_safe, each.thought_unsafe
    return safe.safe, unsafe.safe, safe.unsafe, unsafe.unsafe


def _segment(panel: Panel, start: float, share: float, y: float, shade: str, hover: str) -> Markup:
    """A part of a bar, with its figure where it fits."""
    fits = share * panel.width > 36
    return element(
        "g",
        element("title", hover),
        element("rect", x=panel.x(start), y=y, width=share * panel.width, height=BAR, class_=f"stretch {shade}"),
        plot.text(panel.x(start + share / 2), y + BAR / 2 + 4, percent(share), "value", "middle") if fits else None,
        class_="point",
    )


def _legend(left: float) -> Markup:
    drawn, x = [], left
    for words, shade in SHARES:
        drawn.append(element("rect", x=x, y=6.0, width=12.0, height=12.0, rx=2, class_=f"stretch {shade}"))
        drawn.append(plot.text(x + 18, 16, words, "key"))
        x += 42 + plot.text_width(words)
    return join(drawn)
