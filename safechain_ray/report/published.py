"""The table of the published figures beside ours, and notes on how ours differ."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce

from safechain_ray.catalog.published import PublishedFigures
from safechain_ray.metrics.published import BesideOurs, Counterpart, StandIns
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SettingMetrics
from safechain_ray.report.document import Cell, Document, Row, Table, cell, figure_cell, text_column
from safechain_ray.report.glossary import metric_term, term_cell, term_column, term_columns
from safechain_ray.report.labels import (
    METRIC_LABELS,
    common_sampling,
    judge_label,
    metric_cell,
    percent,
    points,
    setting_label,
)

LEGEND = (
    "In percent: ours with its 95% interval, the difference of ours from the published figure in points, and whether "
    "the published figure is inside our interval. A dash: no such figure was published."
)

PUBLISHED_COLUMNS = (*term_columns("ours", "published"), term_column("published-difference", "Difference"))

DIFFERS = "* Ours was measured in another way: the notes name the differences."


def with_published(
    document: Document,
    metrics: RunMetrics,
    found: Sequence[BesideOurs],
    figures: PublishedFigures,
    stand_ins: StandIns,
) -> Document:
    """A run's document with the published figures after its tables, and their notes after its notes."""
    return replace(
        document,
        tables=(*document.tables, published_table(metrics, found, figures)),
        notes=(*document.notes, *published_notes(metrics, found, figures, stand_ins)),
    )


def published_table(metrics: RunMetrics, found: Sequence[BesideOurs], figures: PublishedFigures) -> Table:
    """One row a figure with a published counterpart, for each setting, judge and part."""
    common = common_sampling(metrics.settings)
    counterparts = {(each.setting_id, each.judge, each.part): each for each in found}
    groups = tuple(
        tuple(_rows(setting, judge, counterparts.get((setting.setting_id, judge.judge, judge.part)), common))
        for setting in metrics.settings
        for judge in setting.judges
    )
    models = ", ".join(dict.fromkeys(each.model for each in found))
    return Table(
        title=" ".join(["Beside the published figures", *([f"of {models}"] if models else ()), f"({figures.source})"]),
        columns=(
            term_column("judge", "Setting; judge, part", is_figure=False),
            text_column("Figure"),
            *PUBLISHED_COLUMNS,
        ),
        groups=groups,
        caption=" ".join([LEGEND, *([DIFFERS] if any(each.differs for each in found) else ())]),
    )


def published_notes(
    metrics: RunMetrics, found: Sequence[BesideOurs], figures: PublishedFigures, stand_ins: StandIns
) -> Iterator[str]:
    """How ours differ from what was published, and why a row has no published figure."""
    names = {setting.setting_id: setting_label(setting) for setting in metrics.settings}
    rows = {f"{names[each.setting_id]}; {each.judge}, {each.part}": each for each in found}
    yield from difference_notes(rows)
    if any(each.judge == figures.evaluation.judge for each in found):
        yield f"{figures.evaluation.judge}: the published code sent its prompts with BOS twice; here BOS is sent once."
    yield from _nothing_published(metrics, found, figures, stand_ins)


def difference_notes(rows: dict[str, Counterpart] | dict[str, BesideOurs]) -> Iterator[str]:
    """How each row (by its name) differs from the published one; the differences of all rows come once."""
    differences = [dict.fromkeys(each.differs) for each in rows.values()]
    common = reduce(lambda left, right: {key: None for key in left if key in right}, differences) if rows else {}
    if common:
        yield f"Every row differs from the published one: {'; '.join(common)}."
    for name, each in rows.items():
        own = [difference for difference in each.differs if difference not in common]
        if own:
            yield f"{name} differs from the published one: {'; '.join(own)}."
    for model in dict.fromkeys(each.model for each in rows.values() if each.externally_filtered):
        yield f"{model}: its provider filtered prompts or answers before the published figures were taken."


def difference_cell(difference: float | None, is_inside: bool) -> Cell:
    """Ours less the published figure in points, and whether the published figure lies inside our interval."""
    if difference is None:
        return cell("none")
    return figure_cell((points(difference), "inside" if is_inside else "outside"))


def _rows(
    setting: SettingMetrics, judge: JudgeMetrics, counterpart: BesideOurs | None, common: dict[str, str]
) -> Iterator[Row]:
    name = cell(setting_label(setting, common), judge_label(judge))
    if counterpart is None:
        yield name, *[cell("-")] * 4
        return
    star = "*" if counterpart.differs else ""
    for metric, label in METRIC_LABELS.items():
        if metric not in counterpart.shares:
            continue
        yield (
            name,
            term_cell(metric_term(metric), label),
            metric_cell(getattr(judge, metric), judge.missing),
            cell(percent(counterpart.shares[metric]) + star),
            difference_cell(counterpart.differences.get(metric), counterpart.within_interval.get(metric, False)),
        )
        name = cell("")


def _nothing_published(
    metrics: RunMetrics, found: Sequence[BesideOurs], figures: PublishedFigures, stand_ins: StandIns
) -> Iterator[str]:
    if figures.name_of(stand_ins.model or metrics.model) is None:
        yield (
            f"No figures were published for {metrics.model or 'this model'}. --paper NAME adds the figures of another "
            f"model: {', '.join(figures.safety)}."
        )
        return
    with_published = {each.setting_id for each in found}
    for setting in metrics.settings:
        if setting.setting_id not in with_published:
            yield (
                f"{setting_label(setting)}: no figures were published for this strategy on this data set. "
                f"--paper-dataset {setting.dataset}=NAME compares it with one of "
                f"{', '.join(figures.evaluation.greedy_datasets)}."
            )
