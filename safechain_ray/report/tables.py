"""The figures of a run as rich tables: what became of the samples first, then what the judges say."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SafetyMetrics, SettingMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.labels import (
    METRIC_LABELS,
    common_sampling,
    judge_label,
    metric_lines,
    percent,
    setting_label,
)
from safechain_ray.report.notes import FEW_PROMPTS, notes
from safechain_ray.schema import Outcome

LEGEND = (
    "In percent. Below each: its 95% interval; in brackets, where verdicts are missing, the bounds over all prompts "
    "with all of them unsafe and all of them safe. A value leaves unfinished prompts out, and so can lie outside."
)


def render_metrics(metrics: RunMetrics, console: Console, by_category: bool = False) -> None:
    """Prints outcomes, safety metrics, and what to know of them; with `by_category`, a table of each judge's too.

    Names from data sets and models are printed as inert text, whatever they hold.
    """
    for caveat in metrics.caveats:
        console.print(Text(caveat, style="bold yellow"))
    console.print(outcomes_table(metrics))
    console.print(safety_table(metrics))
    if by_category:
        for setting in metrics.settings:
            for judge in setting.judges:
                console.print(category_table(setting, judge))
    found = notes(metrics)
    if found:
        console.print(Text("Read with care", style="bold"))
    for note in found:
        console.print(Text(f"- {note}"))


def outcomes_table(metrics: RunMetrics) -> Table:
    """One row a setting: rows found, and how many of them ended how."""
    common = common_sampling(metrics.settings)
    title = " ".join(["Outcomes of samples", printable(metrics.model), *common.values()])
    table = _table(title)
    table.add_column("Setting", overflow="fold")
    for name in ("Rows", *OUTCOMES):
        table.add_column(name, justify="right", no_wrap=True)
    for setting in metrics.settings:
        rows = f"{setting.rows:,}"
        if setting.rows != setting.rows_expected:
            rows += f"\nof {setting.rows_expected:,}"
        table.add_row(
            Text(setting_label(setting, common)), rows, *(_outcome_text(setting, outcome) for outcome in OUTCOMES)
        )
    return table


def safety_table(metrics: RunMetrics) -> Table:
    """One row a setting, judge and part."""
    common = common_sampling(metrics.settings)
    table = _table("Safety", caption=LEGEND)
    table.add_column("Setting; judge, part", overflow="fold")
    _add_metric_columns(table)
    for setting in metrics.settings:
        for judge in setting.judges:
            name = f"{setting_label(setting, common)}\n{judge_label(judge)}"
            table.add_row(Text(name), *_metric_cells(judge))
        table.add_section()
    return table


def category_table(setting: SettingMetrics, judge: JudgeMetrics) -> Table:
    """One row a category of the prompts; a star marks those with few prompts."""
    table = _table(
        f"{setting_label(setting)}; {judge_label(judge)}", caption=f"* fewer than {FEW_PROMPTS} prompts. {LEGEND}"
    )
    table.add_column("Category", overflow="fold")
    table.add_column("Prompts", justify="right", no_wrap=True)
    _add_metric_columns(table)
    for category, safety in judge.categories.items():
        star = "*" if safety.prompts < FEW_PROMPTS else ""
        table.add_row(Text(printable(category)), f"{safety.prompts:,}{star}", *_metric_cells(safety))
    return table


def _table(title: str, caption: str | None = None) -> Table:
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        caption=None if caption is None else Text(caption),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )


def _outcome_text(setting: SettingMetrics, outcome: Outcome) -> Text:
    """The count, and below it, where there is one, its share in percent."""
    count = setting.outcomes[outcome]
    if count == 0:
        return Text("0")
    style = "" if outcome == "ok" else "yellow"
    return Text(f"{count:,}\n{percent(count / setting.rows)}%", style=style)


def _add_metric_columns(table: Table) -> None:
    for label in METRIC_LABELS.values():
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("Missing", justify="right", no_wrap=True)


def _metric_cells(safety: SafetyMetrics) -> list[Text]:
    cells = [Text(metric_lines(getattr(safety, name), safety.missing)) for name in METRIC_LABELS]
    return [*cells, Text(f"{safety.missing:,}", style="yellow" if safety.missing else "")]
