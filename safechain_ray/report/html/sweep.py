"""The page of a sweep: what failed and what it cost, then the models ranked by each judge, with links to reports."""

from collections.abc import Mapping, Sequence
from itertools import starmap

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.metrics.published import NO_STAND_INS, StandIns, beside
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.document import printable
from safechain_ray.report.html.definitions import with_glossary
from safechain_ray.report.html.elements import (
    Markup,
    Section,
    assemble,
    element,
    html_caveats,
    html_legend,
    html_notes,
    html_table,
    join,
)
from safechain_ray.report.html.figure import figure
from safechain_ray.report.labels import common_sampling
from safechain_ray.report.leaderboard import (
    RANKINGS_LEGEND,
    SweepRun,
    leaderboard_beside,
    outcomes_table,
    over_refusal_tables,
    ranking_table,
    rankings,
)
from safechain_ray.report.plots.comparison import ranking_plot
from safechain_ray.report.sweep_overview import Effort, headlines, models_table, reasons


def sweep_page(
    runs: Sequence[SweepRun],
    stand_ins: StandIns = NO_STAND_INS,
    models: Sequence[SweptModel] = (),
    efforts: Mapping[str, Effort] | None = None,
) -> str:
    """The report of a sweep: figures only, with links to the reports that hold the samples.

    `models` are all models of the sweep, `efforts` the time and cost of their runs by model. Published figures are
    shown beside ours where there are some, of the runs' own models or of those in `stand_ins`.
    """
    found = rankings(runs)
    figures = [
        *map(html_table, map(ranking_table, found)),
        html_legend(RANKINGS_LEGEND),
        *map(html_table, over_refusal_tables(runs)),
    ]
    links = {run.folder: run.link for run in runs}
    sections = [
        *([Section("models", "What ran", _what_ran(models, efforts or {}, links))] if models else []),
        Section("first", "Warnings and notes", _know_first(runs)),
        Section("leaderboard", "Leaderboard", join(figures)),
        *_published([run.metrics for run in runs], stand_ins),
        *([Section("plots", "Plots", join(map(figure, starmap(ranking_plot, enumerate(found)))))] if found else []),
    ]
    rows = sum(setting.rows for run in runs for setting in run.metrics.settings)
    common = common_sampling([setting for run in runs for setting in run.metrics.settings])
    line = [
        f"{len(runs)} model{'' if len(runs) == 1 else 's'}",
        f"{rows:,} samples",
        *filter(None, [" ".join(common.values())]),
    ]
    return assemble("Safety of models", " · ".join(line), with_glossary(sections))


def _what_ran(models: Sequence[SweptModel], efforts: Mapping[str, Effort], links: Mapping[str, str]) -> Markup:
    tiles = [
        element(
            "li",
            element("strong", headline.figure),
            element("span", headline.words),
            class_="tile warn" if headline.is_warning else "tile",
        )
        for headline in headlines(models, efforts)
    ]
    errors = [element("p", printable(reason), class_="caveat") for reason in reasons(models)]
    return join(element("ul", tiles, class_="tiles"), errors, html_table(models_table(models, efforts, links)))


def _know_first(runs: Sequence[SweepRun]) -> Markup:
    """Caveats, then the outcomes and missing verdicts of each run."""
    outcomes = outcomes_table([run.metrics for run in runs], [run.link for run in runs], with_missing=True)
    return join(
        html_caveats(dict.fromkeys(caveat for run in runs for caveat in run.metrics.caveats)), html_table(outcomes)
    )


def _published(runs: Sequence[RunMetrics], stand_ins: StandIns) -> list[Section]:
    """Every model in every setting with published figures below ours; no section where nothing was published."""
    figures = published_figures()
    if not any(beside(run, figures, stand_ins) for run in runs):
        return []
    document = leaderboard_beside(runs, figures, stand_ins)
    return [Section("published", "Beside the paper", join(html_table(document.tables[-1]), html_notes(document.notes)))]
