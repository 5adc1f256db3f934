"""The document of a run: outcomes of samples, safety and over-refusal, notes."""

from collections.abc import Iterator, Sequence

from rich.console import Console

from safechain_ray.decoding.base import NO_THINK
from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.safety import Metric, RefusalMetrics
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SafetyMetrics, SettingMetrics
from safechain_ray.metrics.user_metrics import UserFigure
from safechain_ray.report.document import (
    Cell,
    Document,
    Row,
    Table,
    cell,
    figure_columns,
    printable,
    text_column,
)
from safechain_ray.report.glossary import metric_term, term_column, term_columns
from safechain_ray.report.labels import (
    METRIC_LABELS,
    NO_FIGURE,
    common_sampling,
    count_cell,
    judge_label,
    metric_cell,
    over_refusal_legend,
    reasons_sentence,
    refusal_cell,
    rows_cell,
    safety_cell,
    setting_label,
    share_cell,
)
from safechain_ray.report.renderers import print_document
from safechain_ray.types import IMPORTED

FEW_PROMPTS = 30
"""A metric over fewer prompts has a 95% interval of more than 30 percentage points where half are safe."""

UNKNOWN_KINDS = (
    "{dataset}: no benign categories are known, so all prompts count as harmful. Fix: name the benign categories with "
    "--benign-category; if all prompts are harmful, set `benign_categories: []` for the data set in the config."
)

UNKNOWN_KINDS_OF_IMPORT = (
    "{dataset}: no benign categories are known, so all prompts count as harmful. Fix: import the file again into a new "
    "--output, with --category-column COLUMN --benign-category NAME, or with --set 'benign_categories=[]' if all "
    "prompts are harmful."
)

NOT_JUDGED = "No verdicts yet. Next: safechain-ray judge {folder} --judge refusal-match (or another judge)"

ALL_BENIGN = "{dataset}: every prompt is benign, so there is no safety figure."

LEGEND = (
    "In percent, with 95% intervals. Where verdicts are missing, brackets give the bounds over all prompts: with all "
    "missing verdicts unsafe, and with all safe. A value leaves out unfinished prompts, so it can be outside them."
)

METRICS_A_TABLE = 3
"""Metrics of a user's catalog side by side: 80 columns show more names only in part."""

METRIC_COLUMNS = (*term_columns(*map(metric_term, METRIC_LABELS)), term_column("missing-verdicts", "Missing"))

SETTING_COLUMN = term_column("judge", "Setting; judge, part", is_figure=False)

REFUSAL_COLUMN = term_column("over-refusal", "Over-", "refusal")


def render_metrics(metrics: RunMetrics, console: Console, by_category: bool = False) -> None:
    """Print `metrics_document`."""
    print_document(metrics_document(metrics, by_category), console)


def metrics_document(metrics: RunMetrics, by_category: bool = False) -> Document:
    """Outcomes, safety metrics and notes; with `by_category`, one more table for each setting and judge."""
    categories = [category_table(setting, judge) for setting in metrics.settings for judge in setting.judges]
    return Document(
        caveats=metrics.caveats,
        tables=(
            outcomes_table(metrics),
            *([safety_table(metrics)] if is_judged(metrics) else ()),
            *user_metrics_tables(metrics),
            *(categories if by_category else ()),
        ),
        notes=tuple(notes(metrics)),
    )


def is_judged(metrics: RunMetrics) -> bool:
    """Whether a judge gave verdicts: an import has none at first."""
    return any(setting.judges for setting in metrics.settings)


def outcomes_table(metrics: RunMetrics, with_tokens: bool = False) -> Table:
    """One row a setting: rows found and their outcomes; with tokens of each part where the format has the width."""
    common = common_sampling(metrics.settings)
    tokens = term_columns("prompt-tokens", "thought-tokens", "answer-tokens") if with_tokens else ()
    return Table(
        title=" ".join(["Outcomes of samples", metrics.model, *common.values()]),
        columns=(term_column("setting", is_figure=False), *term_columns("rows", *OUTCOMES), *tokens),
        groups=(
            tuple(
                (
                    cell(setting_label(setting, common)),
                    rows_cell(setting.rows, setting.rows_expected),
                    *(
                        share_cell(setting.outcomes[outcome], setting.rows, is_warning=outcome != "ok")
                        for outcome in OUTCOMES
                    ),
                    *(_token_cells(setting) if with_tokens else ()),
                )
                for setting in metrics.settings
            ),
        ),
        is_sortable=True,
    )


def safety_table(metrics: RunMetrics) -> Table:
    """One row a setting, judge and part; the first row of a setting also has its over-refusal."""
    common = common_sampling(metrics.settings)
    legend = over_refusal_legend(metrics.settings)
    return Table(
        title="Safety and over-refusal" if legend else "Safety",
        columns=(SETTING_COLUMN, *METRIC_COLUMNS, *([REFUSAL_COLUMN] if legend else ())),
        groups=tuple(
            tuple(
                (
                    cell(setting_label(setting, common), judge_label(judge)),
                    *_metric_cells(judge),
                    *([cell("") if index else refusal_cell(setting)] if legend else ()),
                )
                for index, judge in enumerate(setting.judges)
            )
            for setting in metrics.settings
        ),
        caption=" ".join(filter(None, (legend, LEGEND))),
        is_sortable=True,
    )


def user_metrics_tables(metrics: RunMetrics) -> Iterator[Table]:
    """Tables of the metrics of users' catalogs, one row a setting; no table without such metrics."""
    names = tuple(dict.fromkeys(name for setting in metrics.settings for name in setting.user_metrics))
    if not names:
        return
    common = common_sampling(metrics.settings)
    for shown in (names[start : start + METRICS_A_TABLE] for start in range(0, len(names), METRICS_A_TABLE)):
        rows = (
            (cell(setting_label(setting, common)), *(_user_cell(setting.user_metrics.get(name)) for name in shown))
            for setting in metrics.settings
        )
        columns = (text_column("Setting"), *figure_columns(*map(printable, shown)))
        yield Table(title="Metrics of your catalog", columns=columns, groups=(tuple(rows),), is_sortable=True)


def _user_cell(figure: UserFigure | None) -> Cell:
    if figure is None or (figure.value is None and figure.error is None):
        return cell(NO_FIGURE)
    return cell("failed", is_warning=True) if figure.value is None else cell(f"{figure.value:,.4g}")


def category_table(setting: SettingMetrics, judge: JudgeMetrics) -> Table:
    """One row a category of the prompts; a star marks those with few prompts. Benign ones have only over-refusal."""
    refusals = {} if setting.over_refusal is None else setting.over_refusal.categories
    no_refusal = [cell(NO_FIGURE)] if refusals else []
    harmful = tuple(
        (cell(category), _prompts_cell(safety), *_metric_cells(safety), *no_refusal)
        for category, safety in judge.categories.items()
    )
    benign = tuple(
        (
            cell(category),
            _prompts_cell(found),
            *[cell(NO_FIGURE)] * len(METRIC_LABELS),
            count_cell(found.missing, is_warning=True),
            metric_cell(found.refused, found.missing),
        )
        for category, found in refusals.items()
    )
    return Table(
        title=f"{setting_label(setting)}; {judge_label(judge)}",
        columns=(
            term_column("category", is_figure=False),
            *term_columns("prompts"),
            *METRIC_COLUMNS,
            *([REFUSAL_COLUMN] if refusals else ()),
        ),
        groups=(harmful, *([benign] if benign else ())),
        caption=f"* fewer than {FEW_PROMPTS} prompts. {LEGEND}",
        is_sortable=True,
    )


def notes(metrics: RunMetrics) -> list[str]:
    """One printable line for each data set, setting and judge whose figures need care; often none."""
    found: dict[str, None] = {}
    if is_judged(metrics):
        found |= dict.fromkeys(note for setting in metrics.settings for note in _dataset_notes(setting))
    for setting in metrics.settings:
        name = setting_label(setting)
        found |= dict.fromkeys(_setting_notes(setting, name))
        for judge in setting.judges:
            sentences = list(_judge_notes(judge, setting))
            if sentences:
                found[f"{name}; {judge_label(judge)}: {' '.join(sentences)}"] = None
    return list(found)


def _dataset_notes(setting: SettingMetrics) -> Iterator[str]:
    """Notes that are the same in all settings of a data set."""
    dataset = printable(setting.dataset)
    if setting.benign_categories is None:
        unknown = UNKNOWN_KINDS_OF_IMPORT if setting.strategy == IMPORTED else UNKNOWN_KINDS
        yield unknown.format(dataset=dataset)
    if setting.benign_prompts and not setting.harmful_prompts:
        yield ALL_BENIGN.format(dataset=dataset)
    if 0 < setting.harmful_prompts < FEW_PROMPTS:
        yield f"{dataset}: the safety figures are based on only {_counted(setting.harmful_prompts, 'harmful prompt')}."
    if 0 < setting.benign_prompts < FEW_PROMPTS:
        yield f"{dataset}: over-refusal is based on only {_counted(setting.benign_prompts, 'benign prompt')}."


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _setting_notes(setting: SettingMetrics, name: str) -> Iterator[str]:
    for metric, figure in setting.user_metrics.items():
        if figure.error is not None:
            yield f"{name}: the code of metric {printable(metric)} failed: {printable(figure.error)}"
    if setting.rows < setting.rows_expected and setting.strategy == IMPORTED:
        yield f"{name}: some prompts have fewer than {setting.samples} responses."
    elif setting.rows < setting.rows_expected:
        yield f"{name}: only {setting.rows:,} of {setting.rows_expected:,} rows are there."
    if setting.outcomes["error"] and setting.error_reasons:
        yield (
            f"{name}: {setting.outcomes['error']:,} rows ended with an error. {reasons_sentence(setting.error_reasons)}"
        )
    thought_tokens = setting.tokens.thought or 0
    if setting.strategy == NO_THINK and thought_tokens > setting.rows:
        yield (
            f"{name}: the responses have {thought_tokens / setting.rows:,.0f} tokens of thought on average, so the "
            "switch of the model did not end its thoughts. Fix: check the model's family with safechain-ray doctor."
        )
    refusals = setting.over_refusal
    if refusals is not None and refusals.missing:
        yield (
            f"{name}; over-refusal: {refusals.missing:,} of {refusals.prompts * setting.samples:,} responses to benign "
            f"prompts are missing. It rests on {_share(refusals.refused.n, refusals.prompts)} benign prompts."
        )


def _judge_notes(judge: JudgeMetrics, setting: SettingMetrics) -> Iterator[str]:
    metrics: dict[str, Metric] = {label: getattr(judge, name) for name, label in METRIC_LABELS.items()}
    samples = setting.samples
    on_benign = setting.benign_prompts * samples
    if judge.missing:
        yield f"{judge.missing:,} of {judge.prompts * samples:,} verdicts are missing."
    if judge.missing_on_benign:
        yield f"{judge.missing_on_benign:,} of {on_benign:,} verdicts on benign prompts are missing."
    if judge.missing_reasons:
        yield reasons_sentence(judge.missing_reasons)
    if judge.unsafe_on_benign:
        judged = on_benign - judge.missing_on_benign
        yield f"{judge.unsafe_on_benign:,} of {judged:,} verdicts on benign prompts are unsafe; no figure counts them."
    if judge.noted:
        yield (
            f"{judge.noted:,} of {judge.prompts * samples + on_benign:,} verdicts have a note of the judge, for "
            "example that it saw only the end of the text (`note` of the samples' verdicts)."
        )
    if any(metric.n < judge.prompts for metric in metrics.values()):
        rests = [f"{_listed(labels)} on {_share(n, judge.prompts)}" for n, labels in _by_n(metrics).items()]
        yield f"Prompts behind the figures: {', '.join(rests)}."
    outside = [label for label, metric in metrics.items() if _outside_bounds(metric)]
    if outside:
        yield f"{_listed(outside)} outside the bounds: prompts with missing verdicts are unlike the others."


def _by_n(metrics: dict[str, Metric]) -> dict[int, list[str]]:
    labels: dict[int, list[str]] = {}
    for label, metric in metrics.items():
        labels.setdefault(metric.n, []).append(label)
    return labels


def _listed(labels: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))


def _share(n: int, prompts: int) -> str:
    if n == 0:
        return f"none of {prompts:,}"
    return f"{'only ' if n < min(FEW_PROMPTS, prompts) else ''}{n:,} of {prompts:,}"


def _outside_bounds(metric: Metric) -> bool:
    if metric.value is None or metric.bound_low is None or metric.bound_high is None:
        return False
    return not metric.bound_low <= metric.value <= metric.bound_high


def _metric_cells(safety: SafetyMetrics) -> Row:
    metrics = (safety_cell(safety, name) for name in METRIC_LABELS)
    return *metrics, count_cell(safety.missing, is_warning=True)


def _token_cells(setting: SettingMetrics) -> Row:
    tokens = (setting.tokens.prompt, setting.tokens.thought, setting.tokens.answer)
    return tuple(cell("none") if count is None else count_cell(count) for count in tokens)


def _prompts_cell(figures: SafetyMetrics | RefusalMetrics) -> Cell:
    return cell(f"{figures.prompts:,}{'*' if figures.prompts < FEW_PROMPTS else ''}")
