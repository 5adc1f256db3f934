"""Models compared in all that they were asked, as one document: side by side, then what differs."""

from safechain_ray.catalog.published import PublishedFigures
from safechain_ray.commands.compare_models import ComparedModels
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.benchmark_comparison import benchmark_comparison_document
from safechain_ray.report.comparison import comparison_document
from safechain_ray.report.document import Document, Table
from safechain_ray.report.models_table import models_table

PUBLISHED = "Published ({source}): greedily, on the full sets, the {part} as {judge} sees it, BOS sent twice."
NOTHING = "Nothing was published of a model tuned from one of these: --paper {bases} puts others' beside."


def differences(compared: ComparedModels) -> Document:
    """The tables of differences, those of safety first, and what to know of them."""
    parts = [] if compared.safety is None else [comparison_document(compared.safety)]
    parts += [] if compared.benchmarks is None else [benchmark_comparison_document(compared.benchmarks)]
    return Document(
        tuple(table for part in parts for table in part.tables),
        tuple(dict.fromkeys(caveat for part in parts for caveat in part.caveats)),
        tuple(note for part in parts for note in part.notes),
    )


def side_by_side(compared: ComparedModels, figures: PublishedFigures, stand_ins: StandIns | None) -> Table | None:
    """Every model's own figures; None where only runs or only benchmarks are compared, whose differences say it all.

    With `stand_ins` the published models stand beside that are of one base model with ours, or with theirs.
    """
    if not (compared.safety_of and compared.grades_of):
        return None
    if stand_ins is None:
        return models_table(compared.safety_of, compared.grades_of, {}, {}, "", {})
    published = figures.finetuning.rows(compared.names if stand_ins.model is None else (stand_ins.model,))
    evaluation = figures.evaluation
    said = PUBLISHED.format(source=figures.source, part=evaluation.part, judge=evaluation.judge)
    if not published:
        said = NOTHING.format(bases=" or ".join(figures.finetuning.models))
    styles = figures.finetuning.styles
    return models_table(compared.safety_of, compared.grades_of, published, stand_ins.datasets, said, styles)


def compared_document(compared: ComparedModels, figures: PublishedFigures, stand_ins: StandIns | None) -> Document:
    """All of it."""
    found, table = differences(compared), side_by_side(compared, figures, stand_ins)
    return Document((*([] if table is None else [table]), *found.tables), found.caveats, found.notes)
