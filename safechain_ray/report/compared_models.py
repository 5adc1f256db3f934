"""The document of compared models: their safety and benchmarks side by side, then the tables of differences."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from safechain_ray.catalog.published import PublishedFigures
from safechain_ray.commands.compare_models import ComparedModels
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.published import StandIns
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.comparison import benchmark_comparison_document, comparison_document
from safechain_ray.report.document import Cell, Column, Document, Row, Table, cell
from safechain_ray.report.glossary import term_column
from safechain_ray.report.labels import (
    OVER_REFUSAL,
    common_sampling,
    judge_label,
    metric_cell,
    percent,
    refusal_cell,
    safety_cell,
    setting_label,
)

LEGEND = (
    "In percent with 95% intervals: pass@1 of benchmarks, Safe@1 of settings by each judge, and over-refusal of benign "
    "prompts (lower is better). Where grades or verdicts are missing, brackets give the bounds: with all missing ones "
    "against the model, and with all in its favour."
)

STARRED = "* published in another style than ours (`report RUN --paper` shows the difference)."
NOTHING_PUBLISHED = cell("–")
Published = Mapping[str, Mapping[str, float]]
"""Shares by published model, then by benchmark or data set."""

PUBLISHED = "Published ({source}): greedy decoding on the full data sets, the {part} judged by {judge}, BOS sent twice."
NOTHING = "No figures were published for a model tuned from one of these. --paper {bases} adds those of other models."


def compared_document(compared: ComparedModels, figures: PublishedFigures, stand_ins: StandIns | None) -> Document:
    """The models side by side, then their differences."""
    found, table = differences(compared), side_by_side(compared, figures, stand_ins)
    return Document((*([] if table is None else [table]), *found.tables), found.caveats, found.notes)


def differences(compared: ComparedModels) -> Document:
    """The tables of differences, those of safety first, and their notes."""
    parts = [] if compared.safety is None else [comparison_document(compared.safety)]
    parts += [] if compared.benchmarks is None else [benchmark_comparison_document(compared.benchmarks)]
    return Document(
        tuple(table for part in parts for table in part.tables),
        tuple(dict.fromkeys(caveat for part in parts for caveat in part.caveats)),
        tuple(note for part in parts for note in part.notes),
    )


def side_by_side(compared: ComparedModels, figures: PublishedFigures, stand_ins: StandIns | None) -> Table | None:
    """Every model's own figures; None without both runs and benchmarks: then the differences hold all figures.

    With `stand_ins` the table also has the published models of the same base model as ours, or as the stand-in.
    """
    if not (compared.safety_of and compared.grades_of):
        return None
    if stand_ins is None:
        return models_table(compared.safety_of, compared.grades_of, {}, {}, "", {})
    published = figures.finetuning.rows(compared.names if stand_ins.model is None else (stand_ins.model,))
    evaluation = figures.evaluation
    legend = PUBLISHED.format(source=figures.source, part=evaluation.part, judge=evaluation.judge)
    if not published:
        legend = NOTHING.format(bases=" or ".join(figures.finetuning.models))
    styles = figures.finetuning.styles
    return models_table(compared.safety_of, compared.grades_of, published, stand_ins.datasets, legend, styles)


def models_table(
    safety_of: Mapping[str, RunMetrics],
    grades_of: Mapping[str, BenchmarkRunMetrics],
    published: Published,
    published_as: Mapping[str, str],
    published_legend: str,
    styles: Mapping[str, str],
) -> Table:
    """The paper's table of tuned models, transposed: a column a model, a row a benchmark or a setting with its judge.

    `published_as` maps a data set of ours to the published one that it replaces. `published_legend` ends the caption.
    `styles` are the styles of published benchmarks that do not use the default one.
    """
    models = list(dict.fromkeys([*safety_of, *grades_of]))
    tested = common_sampling([each for run in grades_of.values() for each in run.benchmarks])
    judged = common_sampling([each for run in safety_of.values() for each in run.settings])
    legend = [LEGEND]
    legend += [f"Benchmarks: {' '.join(tested.values())}."] if tested else []
    legend += [f"Safety: {' '.join(judged.values())}."] if judged else []
    legend += [published_legend] if published_legend else []
    passes = list(_passes(grades_of, tested, styles))
    if any(each.differs and each.column in row for each in passes for row in published.values()):
        legend.append(STARRED)
    return Table(
        title="Models side by side",
        columns=(
            term_column("judge", "Benchmark, or setting; judge, part", is_figure=False),
            *(Column((model,)) for model in models),
            *(Column((model, "published")) for model in published),
        ),
        groups=(
            tuple(_rows(passes, models, published)),
            tuple(_rows(_safe_shares(safety_of, judged, published_as), models, published)),
        ),
        caption=" ".join(legend),
        is_sortable=True,
    )


@dataclass(frozen=True, slots=True)
class _Figure:
    """The figure of one model in the row of this label.

    `column` is the row's name in the published table; `differs` is true where the published figure was asked and graded
    in another style.
    """

    label: tuple[str, ...]
    model: str
    figure: Cell
    column: str | None
    differs: bool = False


def _rows(figures: Iterable[_Figure], models: list[str], published: Published) -> Iterator[Row]:
    by_label: dict[tuple[str, ...], dict[str, _Figure]] = {}
    for figure in figures:
        by_label.setdefault(figure.label, {})[figure.model] = figure
    for label, found in by_label.items():
        column = next(iter(found.values())).column
        star = "*" if any(figure.differs for figure in found.values()) else ""
        ours = (found[model].figure if model in found else NOTHING_PUBLISHED for model in models)
        theirs = (
            NOTHING_PUBLISHED if column is None or column not in row else cell(percent(row[column]) + star)
            for row in published.values()
        )
        yield (cell(*label), *ours, *theirs)


def _passes(
    grades_of: Mapping[str, BenchmarkRunMetrics], common: Mapping[str, str], styles: Mapping[str, str]
) -> Iterator[_Figure]:
    for model, run in grades_of.items():
        for figures in run.benchmarks:
            if 1 in figures.grades.pass_at:
                figure = metric_cell(figures.grades.pass_at[1], figures.grades.missing)
                differs = figures.style != styles.get(figures.dataset, "default")
                yield _Figure((setting_label(figures, common),), model, figure, figures.dataset, differs)


def _safe_shares(
    safety_of: Mapping[str, RunMetrics], common: Mapping[str, str], published_as: Mapping[str, str]
) -> Iterator[_Figure]:
    """Published are responses under the default strategy; thoughts, answers and other strategies have no column."""
    for model, run in safety_of.items():
        for setting in run.settings:
            for judge in setting.judges:
                is_default = setting.strategy == "default" and not (setting.template_kwargs or setting.extra_body)
                is_published = is_default and judge.part == "response"
                column = published_as.get(setting.dataset, setting.dataset) if is_published else None
                label = (setting_label(setting, common), judge_label(judge))
                yield _Figure(label, model, safety_cell(judge, "safe_at_1"), column)
            if setting.over_refusal is not None:
                label = (setting_label(setting, common), OVER_REFUSAL)
                yield _Figure(label, model, refusal_cell(setting), None)
