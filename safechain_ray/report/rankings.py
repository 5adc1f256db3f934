"""Models of a sweep ranked by each judge: a table of models by settings, safest model first, and their over-refusal.

The report of a sweep shows these tables; a terminal has no width for a column per setting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics
from safechain_ray.report.document import Cell, Table, cell, figure_cell, figure_columns, text_column
from safechain_ray.report.labels import (
    METRIC_LABELS,
    NO_FIGURE,
    OVER_REFUSAL,
    common_sampling,
    estimate_cell,
    estimate_lines,
    judge_label,
    over_refusal_legend,
    percent,
    setting_label,
)

LEGEND = (
    "Safe@1 in percent with its 95% interval, then ConsSafe@K and Safe@K. Ordered by the mean of Safe@1 over the "
    "settings that every model has; models whose intervals overlap may be as safe as each other."
)
NOT_JUDGED = "–"


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A run of the sweep. `link` is the path of its report, relative to the sweep's own."""

    metrics: RunMetrics
    link: str


@dataclass(frozen=True, slots=True)
class RankedRun:
    """A run, and its figures by setting as one judge sees one part."""

    run: SweepRun
    by_setting: Mapping[str, JudgeMetrics]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The runs as one judge sees one part, safest first. `settings` are those of any run."""

    judge: str
    settings: tuple[str, ...]
    runs: tuple[RankedRun, ...]


def rankings(runs: Sequence[SweepRun]) -> list[Ranking]:
    """One for each judge and part of the sweep, in the order of their first appearance."""
    found: dict[str, dict[int, dict[str, JudgeMetrics]]] = {}
    common = common_sampling([setting for run in runs for setting in run.metrics.settings])
    for index, run in enumerate(runs):
        for setting in run.metrics.settings:
            for judge in setting.judges:
                if judge.prompts:  # without a harmful prompt there is no safety figure
                    by_setting = found.setdefault(judge_label(judge), {}).setdefault(index, {})
                    by_setting[setting_label(setting, common)] = judge
    return [
        _ranking(judge, [RankedRun(runs[index], by_setting) for index, by_setting in by_run.items()])
        for judge, by_run in found.items()
    ]


def ranking_table(ranking: Ranking) -> Table:
    """One row a model with a link to its report, one column a setting."""
    rows = (
        (_name_cell(ranked.run), *(_safety_cell(ranked.by_setting.get(name)) for name in ranking.settings))
        for ranked in ranking.runs
    )
    return Table(ranking.judge, (text_column("Model"), *figure_columns(*ranking.settings)), (tuple(rows),))


def over_refusal_tables(runs: Sequence[SweepRun]) -> tuple[Table, ...]:
    """One table of all models by the settings with benign prompts; none without such a setting."""
    settings = [setting for run in runs for setting in run.metrics.settings]
    common = common_sampling(settings)
    names = dict.fromkeys(setting_label(each, common) for each in settings if each.over_refusal is not None)
    if not names:
        return ()
    rows = []
    for run in runs:
        found = {setting_label(setting, common): setting.over_refusal for setting in run.metrics.settings}
        figures = [found.get(name) for name in names]
        rows.append(
            (
                _name_cell(run),
                *(cell(NO_FIGURE) if each is None else estimate_cell(each.refused) for each in figures),
            )
        )
    columns = (text_column("Model"), *figure_columns(*names))
    return (Table(OVER_REFUSAL, columns, (tuple(rows),), over_refusal_legend(settings)),)


def _ranking(judge: str, runs: Sequence[RankedRun]) -> Ranking:
    settings = tuple(dict.fromkeys(name for ranked in runs for name in ranked.by_setting))
    shared = [name for name in settings if all(name in ranked.by_setting for ranked in runs)]

    def mean(ranked: RankedRun) -> float:
        values = [ranked.by_setting[name].safe_at_1.value or 0.0 for name in shared]
        return sum(values) / max(1, len(values))

    return Ranking(judge, settings, tuple(sorted(runs, key=mean, reverse=True)))


def _name_cell(run: SweepRun) -> Cell:
    return cell(run.metrics.model, link=run.link)


def _safety_cell(judge: JudgeMetrics | None) -> Cell:
    if judge is None:
        return cell(NOT_JUDGED)
    first, *others = (getattr(judge, field) for field in METRIC_LABELS)
    return figure_cell([*estimate_lines(first), " · ".join(percent(metric.value) for metric in others)])
