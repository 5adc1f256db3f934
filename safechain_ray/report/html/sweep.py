"""The page of a sweep: models ranked by each judge, with links to the reports of the runs."""

from collections.abc import Iterator, Sequence

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.metrics.published import NO_STAND_INS, StandIns, beside
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.html import plot
from safechain_ray.report.html.document import html_caveats, html_notes, html_table
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.html.page import Section, assemble
from safechain_ray.report.html.plot import WIDTH, Panel, Plot, figure
from safechain_ray.report.labels import common_sampling
from safechain_ray.report.leaderboard import leaderboard_beside, not_done_tables, outcomes_table
from safechain_ray.report.rankings import LEGEND, Ranking, SweepRun, over_refusal_tables, ranking_table, rankings

ROW = 24.0
PANELS_A_LINE = 3
TOP, LINE_GAP = 48.0, 86.0  # room for headings of two lines


def sweep_page(runs: Sequence[SweepRun], stand_ins: StandIns = NO_STAND_INS, models: Sequence[SweptModel] = ()) -> str:
    """The report of a sweep: figures only, with links to the reports that hold the samples.

    `models` are all models of the sweep: incomplete ones are listed first. Published figures are shown beside ours
    where there are some, of the runs' own models or of those in `stand_ins`.
    """
    found = rankings(runs)
    figures = [
        *map(html_table, map(ranking_table, found)),
        element("p", LEGEND, class_="legend"),
        *map(html_table, over_refusal_tables(runs)),
    ]
    sections = [
        Section("first", "To know first", _know_first(runs, models)),
        Section("leaderboard", "Leaderboard", join(figures)),
        *_published([run.metrics for run in runs], stand_ins),
        *([Section("plots", "Plots", join(map(figure, map(_plot, range(len(found)), found))))] if found else []),
    ]
    rows = sum(setting.rows for run in runs for setting in run.metrics.settings)
    common = common_sampling([setting for run in runs for setting in run.metrics.settings])
    line = [
        f"{len(runs)} model{'' if len(runs) == 1 else 's'}",
        f"{rows:,} samples",
        *filter(None, [" ".join(common.values())]),
    ]
    return assemble("Safety of models", " · ".join(line), sections)


def _know_first(runs: Sequence[SweepRun], models: Sequence[SweptModel]) -> Markup:
    """Caveats, incomplete models with their last errors, then the outcomes and missing verdicts of each run."""
    outcomes = outcomes_table([run.metrics for run in runs], [run.link for run in runs], with_missing=True)
    return join(
        html_caveats(dict.fromkeys(caveat for run in runs for caveat in run.metrics.caveats)),
        *map(html_table, (*not_done_tables(models), outcomes)),
    )


def _published(runs: Sequence[RunMetrics], stand_ins: StandIns) -> list[Section]:
    """Every model in every setting with published figures below ours; no section where nothing was published."""
    figures = published_figures()
    if not any(beside(run, figures, stand_ins) for run in runs):
        return []
    document = leaderboard_beside(runs, figures, stand_ins)
    return [Section("published", "Beside the paper", join(html_table(document.tables[-1]), html_notes(document.notes)))]


def _plot(number: int, ranking: Ranking) -> Plot:
    """Safe@1: a panel a setting, a row a model."""
    models = [printable(ranked.run.metrics.model) for ranked in ranking.runs]
    left = min(290.0, max(map(plot.text_width, models)) + 16)
    height = ROW * len(models) + 8
    lines = -(-len(ranking.settings) // PANELS_A_LINE)
    drawn = list(_panels(ranking, models, left, height))
    return Plot(
        f"leaderboard-{number}",
        ranking.judge,
        "Safe@1 with its 95% interval; right is safer.",
        plot.picture(lines * (height + LINE_GAP) - 8, f"Safe@1 by model and setting: {ranking.judge}", join(drawn)),
    )


def _panels(ranking: Ranking, models: Sequence[str], left: float, height: float) -> Iterator[Markup | None]:
    beside = min(PANELS_A_LINE, len(ranking.settings))
    width = (WIDTH - left - 16 - plot.GAP * (beside - 1)) / beside
    for place, name in enumerate(ranking.settings):
        line, column = divmod(place, beside)
        panel = Panel(left + column * (width + plot.GAP), TOP + line * (height + LINE_GAP), width, height)
        yield plot.heading(panel.left, panel.top - 14, name, int(width / 7))
        yield plot.columns(panel)
        for row, (ranked, model) in enumerate(zip(ranking.runs, models, strict=True)):
            y = panel.top + 4 + ROW * (row + 0.5)
            if column == 0:
                yield plot.text(0, y + 4, model, "label", characters=42)
            if name in ranked.by_setting:
                metric = ranked.by_setting[name].safe_at_1
                hover = plot.hover_text(metric, model, name, ranking.judge, "Safe@1")
                yield plot.point_along(panel, y, metric, 0, hover)
