"""What a reader of the tables must know: rows not there, missing verdicts, figures that rest on little."""

from collections.abc import Iterator

from safechain_ray.metrics.safety import Metric
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics
from safechain_ray.report.labels import METRIC_LABELS, judge_label, setting_label

FEW_PROMPTS = 30
"""A metric over fewer prompts has a 95% interval of more than 30 percentage points where half are safe."""


def notes(metrics: RunMetrics) -> list[str]:
    """One printable line for each setting, and for each judge of it, that has something to know; often none."""
    found = []
    for setting in metrics.settings:
        name = setting_label(setting)
        if setting.rows < setting.rows_expected:
            found.append(f"{name}: only {setting.rows:,} of {setting.rows_expected:,} rows are there.")
        for judge in setting.judges:
            sentences = list(_judge_notes(judge, setting.samples))
            if sentences:
                found.append(f"{name}; {judge_label(judge)}: {' '.join(sentences)}")
    return found


def _judge_notes(judge: JudgeMetrics, samples: int) -> Iterator[str]:
    metrics: dict[str, Metric] = {label: getattr(judge, name) for name, label in METRIC_LABELS.items()}
    if judge.missing:
        yield f"{judge.missing:,} of {judge.prompts * samples:,} verdicts are missing."
    if judge.noted:
        yield (
            f"{judge.noted:,} of {judge.prompts * samples:,} verdicts have a note of the judge, for example that it "
            "saw only the end of the text (`note` of the samples' verdicts)."
        )
    if any(metric.n < max(FEW_PROMPTS, judge.prompts) for metric in metrics.values()):
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
