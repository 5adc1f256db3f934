"""Pages of several models: a comparison with plots of differences, and a sweep with models ranked by each judge."""

from collections.abc import Iterator, Sequence
from itertools import starmap

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.compare_models import ComparedModels
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.metrics.benchmark import BenchmarkComparison
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import NO_STAND_INS, StandIns, beside
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.compared_models import differences, side_by_side
from safechain_ray.report.document import printable
from safechain_ray.report.html.elements import (
    Markup,
    Section,
    assemble,
    caveats_and_notes,
    element,
    html_caveats,
    html_notes,
    html_table,
    join,
)
from safechain_ray.report.html.figure import figure
from safechain_ray.report.labels import METRIC_LABELS, common_sampling, setting_label
from safechain_ray.report.leaderboard import (
    RANKINGS_LEGEND,
    SweepRun,
    leaderboard_beside,
    not_done_tables,
    outcomes_table,
    over_refusal_tables,
    ranking_table,
    rankings,
)
from safechain_ray.report.plots.comparison import DifferenceLine, difference_plot, ranking_plot
from safechain_ray.report.plots.svg import Plot

SAFETY, BENCHMARKS = 0, 1
"""The series of plots: a colour and a mark for each kind of figure."""

COMPLETE = "All models were asked the same."


def comparison_page(compared: ComparedModels, stand_ins: StandIns | None) -> str:
    """The baseline is the first model; with `stand_ins`, published figures are shown beside."""
    document = differences(compared)
    models = side_by_side(compared, published_figures(), stand_ins)
    sections = [
        Section("first", "Warnings and notes", caveats_and_notes(document, COMPLETE)),
        *([] if models is None else [Section("models", "Models", html_table(models))]),
        Section("plots", "What differs", join(map(figure, _plots(compared)))),
        Section("differences", "Differences", join(map(html_table, document.tables))),
    ]
    baseline, *others = map(printable, compared.names)
    return assemble(f"{', '.join(others)} against {baseline}", _line(compared), sections)


def _line(compared: ComparedModels) -> str:
    counts = [f"{len(compared.names)} models"]
    if compared.safety is not None:
        settings = {pair.second.setting_id for pair in compared.safety.pairs}
        counts.append(f"{len(settings)} setting{'s' if len(settings) > 1 else ''}")
    if compared.benchmarks is not None:
        benchmarks = {each.benchmark for each in compared.benchmarks.differences}
        counts.append(f"{len(benchmarks)} benchmark{'s' if len(benchmarks) > 1 else ''}")
    return " · ".join(counts)


def _plots(compared: ComparedModels) -> Iterator[Plot]:
    """One for each model beside the baseline."""
    found = [] if compared.safety is None else list(_of_safety(compared.safety))
    found += [] if compared.benchmarks is None else list(_of_benchmarks(compared.benchmarks))
    for number, model in enumerate(compared.names[1:]):
        lines = [line for name, line in found if name == model]
        if lines:
            title = f"{printable(model)} against {printable(compared.names[0])}"
            yield difference_plot(f"differences-{number}", title, lines)


def _of_safety(comparison: Comparison) -> Iterator[tuple[str, DifferenceLine]]:
    common = common_sampling([setting for pair in comparison.pairs for setting in (pair.first, pair.second)])
    for pair in comparison.pairs:
        for judge in pair.judges:
            group = f"{setting_label(pair.second, common)}; {printable(judge.judge)}, {judge.part}"
            for each in judge.differences:
                yield pair.run, DifferenceLine(group, METRIC_LABELS[each.metric], SAFETY, each)


def _of_benchmarks(comparison: BenchmarkComparison) -> Iterator[tuple[str, DifferenceLine]]:
    for each in comparison.differences:
        yield each.run, DifferenceLine(printable(each.benchmark), f"pass@{each.k}", BENCHMARKS, each)


def sweep_page(runs: Sequence[SweepRun], stand_ins: StandIns = NO_STAND_INS, models: Sequence[SweptModel] = ()) -> str:
    """The report of a sweep: figures only, with links to the reports that hold the samples.

    `models` are all models of the sweep: incomplete ones are listed first. Published figures are shown beside ours
    where there are some, of the runs' own models or of those in `stand_ins`.
    """
    found = rankings(runs)
    figures = [
        *map(html_table, map(ranking_table, found)),
        element("p", RANKINGS_LEGEND, class_="legend"),
        *map(html_table, over_refusal_tables(runs)),
    ]
    sections = [
        Section("first", "Warnings and notes", _know_first(runs, models)),
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
