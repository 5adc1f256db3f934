"""The published figures beside ours, as a table, and what is different about ours."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce

from safechain_ray.catalog.published import PublishedFigures
from safechain_ray.metrics.published import BesideOurs, Counterpart, StandIns
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SettingMetrics
from safechain_ray.report.document import Document, Row, Table, cell, figure_columns, text_column
from safechain_ray.report.labels import (
    METRIC_LABELS,
    common_sampling,
    judge_label,
    metric_lines,
    percent,
    setting_label,
)

LEGEND = (
    "In percent: ours with its 95% interval, the difference of ours from the published figure in points, and whether "
    "the published figure lies inside our interval. A dash: nothing like it was published."
)
DIFFERS = "* Ours is not what was published: the notes say in what."


def with_published(
    document: Document,
    metrics: RunMetrics,
    found: Sequence[BesideOurs],
    figures: PublishedFigures,
    stand_ins: StandIns,
) -> Document:
    """A run's document with the published figures behind its tables, and what to know of them behind its notes."""
    return replace(
        document,
        tables=(*document.tables, published_table(metrics, found, figures)),
        notes=(*document.notes, *published_notes(metrics, found, figures, stand_ins)),
    )


def published_table(metrics: RunMetrics, found: Sequence[BesideOurs], figures: PublishedFigures) -> Table:
    """One row a figure that has a published one, for each setting, judge and part."""
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
            text_column("Setting; judge, part"),
            text_column("Figure"),
            *figure_columns("Ours", "Published", "Difference"),
        ),
        groups=groups,
        caption=" ".join([LEGEND, *([DIFFERS] if any(each.differs for each in found) else ())]),
    )


def published_notes(
    metrics: RunMetrics, found: Sequence[BesideOurs], figures: PublishedFigures, stand_ins: StandIns
) -> Iterator[str]:
    """What a reader of the table must know: in what ours differs, and why nothing stands there."""
    names = {setting.setting_id: setting_label(setting) for setting in metrics.settings}
    rows = {f"{names[each.setting_id]}; {each.judge}, {each.part}": each for each in found}
    yield from difference_notes(rows)
    if any(each.judge == figures.evaluation.judge for each in found):
        yield f"{figures.evaluation.judge}: the published code sent its prompts with BOS twice; here BOS is sent once."
    yield from _nothing_published(metrics, found, figures, stand_ins)


def difference_notes(rows: dict[str, Counterpart] | dict[str, BesideOurs]) -> Iterator[str]:
    """In what each row (by its name) differs from the published one; what all of them share is said once."""
    told = [dict.fromkeys(each.differs) for each in rows.values()]
    common = reduce(lambda kept, each: {key: None for key in kept if key in each}, told) if told else {}
    if common:
        yield f"Every row differs from the published one: {'; '.join(common)}."
    for name, each in rows.items():
        own = [difference for difference in each.differs if difference not in common]
        if own:
            yield f"{name} differs from the published one: {'; '.join(own)}."
    for model in dict.fromkeys(each.model for each in rows.values() if each.externally_filtered):
        yield f"{model}: its provider filtered prompts or answers before the published figures were taken."


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


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
        ours = cell(*metric_lines(getattr(judge, metric), judge.missing))
        difference = cell("none")
        if metric in counterpart.differences:
            place = "inside" if counterpart.within_interval[metric] else "outside"
            difference = cell(points(counterpart.differences[metric]), place)
        yield name, cell(label), ours, cell(percent(counterpart.shares[metric]) + star), difference
        name = cell("")


def _nothing_published(
    metrics: RunMetrics, found: Sequence[BesideOurs], figures: PublishedFigures, stand_ins: StandIns
) -> Iterator[str]:
    if figures.name_of(stand_ins.model or metrics.model) is None:
        yield (
            f"Nothing was published of {metrics.model or 'this model'}. --paper NAME puts the figures of another model "
            f"beside: {', '.join(figures.safety)}."
        )
        return
    with_one = {each.setting_id for each in found}
    for setting in metrics.settings:
        if setting.setting_id not in with_one:
            yield (
                f"{setting_label(setting)}: nothing was published of this strategy on this data set. "
                f"--paper-dataset {setting.dataset}=NAME lets it stand for one of "
                f"{', '.join(figures.evaluation.greedy_datasets)}."
            )
