"""What a reader of the tables must know: rows not there, missing verdicts, figures that rest on little."""

from collections.abc import Iterator

from safechain_ray.metrics.safety import Metric
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SettingMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.labels import METRIC_LABELS, judge_label, reasons_sentence, setting_label

FEW_PROMPTS = 30
"""A metric over fewer prompts has a 95% interval of more than 30 percentage points where half are safe."""


UNSAID = (
    "{dataset}: no benign categories are known, so all prompts count as harmful. Fix: name the benign categories with "
    "--benign-category; if all prompts are harmful, set `benign_categories: []` for the data set in the config."
)
ALL_BENIGN = "{dataset}: every prompt is benign, so there is no safety figure."


def notes(metrics: RunMetrics) -> list[str]:
    """One printable line for each data set, setting and judge that has something to know; often none."""
    found = dict.fromkeys(note for setting in metrics.settings for note in _dataset_notes(setting))
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
        yield UNSAID.format(dataset=dataset)
    if setting.benign_prompts and not setting.harmful_prompts:
        yield ALL_BENIGN.format(dataset=dataset)
    if 0 < setting.benign_prompts < FEW_PROMPTS:
        yield f"{dataset}: over-refusal is based on only {setting.benign_prompts:,} benign prompts."


def _setting_notes(setting: SettingMetrics, name: str) -> Iterator[str]:
    if setting.rows < setting.rows_expected:
        yield f"{name}: only {setting.rows:,} of {setting.rows_expected:,} rows are there."
    if setting.outcomes["error"] and setting.error_reasons:
        yield (
            f"{name}: {setting.outcomes['error']:,} rows ended with an error. {reasons_sentence(setting.error_reasons)}"
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
    if judge.prompts and any(metric.n < max(FEW_PROMPTS, judge.prompts) for metric in metrics.values()):
        rests = [f"{' and '.join(labels)} on {_share(n, judge.prompts)}" for n, labels in _by_n(metrics).items()]
        yield f"Prompts behind the figures: {', '.join(rests)}."
    outside = [label for label, metric in metrics.items() if _outside_bounds(metric)]
    if outside:
        yield f"{' and '.join(outside)} outside the bounds: prompts with missing verdicts are unlike the others."


def _by_n(metrics: dict[str, Metric]) -> dict[int, list[str]]:
    labels: dict[int, list[str]] = {}
    for label, metric in metrics.items():
        labels.setdefault(metric.n, []).append(label)
    return labels


def _share(n: int, prompts: int) -> str:
    if n == 0:
        return f"none of {prompts:,}"
    return f"{'only ' if n < FEW_PROMPTS else ''}{n:,} of {prompts:,}"


def _outside_bounds(metric: Metric) -> bool:
    if metric.value is None or metric.bound_low is None or metric.bound_high is None:
        return False
    return not metric.bound_low <= metric.value <= metric.bound_high
