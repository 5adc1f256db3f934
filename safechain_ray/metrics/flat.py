"""The figures of a run as numbers by name, for experiment trackers."""

from collections import Counter
from collections.abc import Iterator, Sequence

from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.safety import PROMPT_VALUES
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics, as_setting


def flat_safety(metrics: RunMetrics) -> dict[str, float]:
    """Shares of 1 as `strongreject/default/llama-guard-3/response/safe_at_1`; undefined ones are left out.

    Settings that differ in the sampling alone have their ids in the names.
    """
    figures: dict[str, float | None] = {}
    for setting, name in _named(metrics.settings):
        figures[f"{name}/errors"] = setting.outcomes["error"]
        if setting.over_refusal is not None:
            figures[f"{name}/over_refusal"] = setting.over_refusal.refused.value
        for judge in setting.judges:
            for metric in PROMPT_VALUES:
                figures[f"{name}/{judge.judge}/{judge.part}/{metric}"] = getattr(judge, metric).value
            figures[f"{name}/{judge.judge}/{judge.part}/missing"] = judge.all_missing
    return {name: value for name, value in figures.items() if value is not None}


def flat_passes(metrics: BenchmarkRunMetrics) -> dict[str, float]:
    """Shares of 1 as `gsm8k/pass_at_1`; undefined ones are left out."""
    figures: dict[str, float | None] = {}
    for each in metrics.benchmarks:
        figures[f"{each.dataset}/errors"] = each.outcomes["error"]
        for k, metric in each.grades.pass_at.items():
            figures[f"{each.dataset}/pass_at_{k}"] = metric.value
    return {name: value for name, value in figures.items() if value is not None}


def _named(settings: Sequence[SettingMetrics]) -> Iterator[tuple[SettingMetrics, str]]:
    names = [f"{setting.dataset}/{as_setting(setting).strategy.label}" for setting in settings]
    times = Counter(names)
    for setting, name in zip(settings, names, strict=True):
        yield setting, name if times[name] == 1 else f"{name}/{setting.setting_id}"
