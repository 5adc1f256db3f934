"""The figures of a run as tables: what became of the samples first, then what the judges say."""

from rich.console import Console

from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.refusals import RefusalMetrics
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SafetyMetrics, SettingMetrics
from safechain_ray.report.document import Cell, Column, Document, Row, Table, cell, figure_columns, text_column
from safechain_ray.report.labels import (
    METRIC_LABELS,
    NO_FIGURE,
    common_sampling,
    judge_label,
    metric_lines,
    over_refusal_legend,
    percent,
    refusal_lines,
    safety_lines,
    setting_label,
)
from safechain_ray.report.notes import FEW_PROMPTS, notes
from safechain_ray.report.terminal import print_document
from safechain_ray.types import Outcome

LEGEND = (
    "In percent, with 95% intervals; in brackets, where verdicts are missing, the bounds over all prompts with all of "
    "them unsafe and all of them safe. A value leaves unfinished prompts out, and so can lie outside."
)

METRIC_COLUMNS = figure_columns(*METRIC_LABELS.values(), "Missing")

REFUSAL_COLUMN = Column(("Over-", "refusal"))


def render_metrics(metrics: RunMetrics, console: Console, by_category: bool = False) -> None:
    """Prints `metrics_document`."""
    print_document(metrics_document(metrics, by_category), console)


def metrics_document(metrics: RunMetrics, by_category: bool = False) -> Document:
    """Outcomes, safety metrics, and what to know of them; with `by_category`, a table of each judge's too."""
    categories = [category_table(setting, judge) for setting in metrics.settings for judge in setting.judges]
    return Document(
        caveats=metrics.caveats,
        tables=(outcomes_table(metrics), safety_table(metrics), *(categories if by_category else ())),
        notes=tuple(notes(metrics)),
    )


def outcomes_table(metrics: RunMetrics) -> Table:
    """One row a setting: rows found, and how many of them ended how."""
    common = common_sampling(metrics.settings)
    rows = []
    for setting in metrics.settings:
        expected = [f"of {setting.rows_expected:,}"] if setting.rows != setting.rows_expected else []
        outcomes = (_outcome_cell(setting, outcome) for outcome in OUTCOMES)
        rows.append((cell(setting_label(setting, common)), cell(f"{setting.rows:,}", *expected), *outcomes))
    return Table(
        title=" ".join(["Outcomes of samples", metrics.model, *common.values()]),
        columns=(text_column("Setting"), *figure_columns("Rows", *OUTCOMES)),
        groups=(tuple(rows),),
    )


def safety_table(metrics: RunMetrics) -> Table:
    """One row a setting, judge and part; in the first one of a setting its over-refusal too."""
    common = common_sampling(metrics.settings)
    legend = over_refusal_legend(metrics.settings)
    return Table(
        title="Safety and over-refusal" if legend else "Safety",
        columns=(text_column("Setting; judge, part"), *METRIC_COLUMNS, *([REFUSAL_COLUMN] if legend else ())),
        groups=tuple(
            tuple(
                (
                    cell(setting_label(setting, common), judge_label(judge)),
                    *_metric_cells(judge),
                    *([cell("") if place else cell(*refusal_lines(setting))] if legend else ()),
                )
                for place, judge in enumerate(setting.judges)
            )
            for setting in metrics.settings
        ),
        caption=" ".join(filter(None, (legend, LEGEND))),
    )


def category_table(setting: SettingMetrics, judge: JudgeMetrics) -> Table:
    """One row a category of the prompts; a star marks those with few prompts. Benign ones have over-refusal alone."""
    refusals = {} if setting.over_refusal is None else setting.over_refusal.categories
    no_refusal = [cell(NO_FIGURE)] if refusals else []
    harmful = tuple(
        (cell(category), _prompts(safety), *_metric_cells(safety), *no_refusal)
        for category, safety in judge.categories.items()
    )
    benign = tuple(
        (
            cell(category),
            _prompts(found),
            *[cell(NO_FIGURE)] * len(METRIC_LABELS),
            _missing(found),
            cell(*metric_lines(found.refused, found.missing)),
        )
        for category, found in refusals.items()
    )
    return Table(
        title=f"{setting_label(setting)}; {judge_label(judge)}",
        columns=(
            text_column("Category"),
            *figure_columns("Prompts"),
            *METRIC_COLUMNS,
            *([REFUSAL_COLUMN] if refusals else ()),
        ),
        groups=(harmful, *([benign] if benign else ())),
        caption=f"* fewer than {FEW_PROMPTS} prompts. {LEGEND}",
    )


def _outcome_cell(setting: SettingMetrics, outcome: Outcome) -> Cell:
    """The count, and below it, where there is one, its share in percent."""
    count = setting.outcomes[outcome]
    if count == 0:
        return cell("0")
    return cell(f"{count:,}", f"{percent(count / setting.rows)}%", style="" if outcome == "ok" else "yellow")


def _metric_cells(safety: SafetyMetrics) -> Row:
    return *(cell(*safety_lines(safety, name)) for name in METRIC_LABELS), _missing(safety)


def _prompts(figures: SafetyMetrics | RefusalMetrics) -> Cell:
    return cell(f"{figures.prompts:,}{'*' if figures.prompts < FEW_PROMPTS else ''}")


def _missing(figures: SafetyMetrics | RefusalMetrics) -> Cell:
    return cell(f"{figures.missing:,}", style="yellow" if figures.missing else "")
