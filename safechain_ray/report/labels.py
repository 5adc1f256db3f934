"""How a setting, a count and a figure are written in tables and notes."""

from safechain_ray.metrics.safety import Metric, MetricName
from safechain_ray.metrics.summary import JudgeMetrics, SettingMetrics
from safechain_ray.report.escape import printable
from safechain_ray.schema import Sampling

METRIC_LABELS: dict[MetricName, str] = {
    "safe_at_1": "Safe@1",
    "cons_safe_at_k": "ConsSafe@K",
    "safe_at_k": "Safe@K",
}
"""In the order of the tables, from the mildest to the strictest view of K samples."""


def setting_label(setting: SettingMetrics) -> str:
    """For example `strongreject morethink t0.6 K5 compat=paper top_p=0.95`; only settings that are equal share one."""
    usual = Sampling(temperature=setting.sampling["temperature"]).model_dump()
    unusual = {key: value for key, value in setting.sampling.items() if value != usual[key]}
    options = [f"{key}={value}" for key, value in {**setting.strategy_options, **unusual}.items()]
    drawn = [f"t{setting.sampling['temperature']:g}", f"K{setting.samples}"]
    return printable(" ".join([setting.dataset, setting.strategy, *drawn, *options]))


def judge_label(judge: JudgeMetrics) -> str:
    """For example `llama-guard-3-8b, response`."""
    return f"{printable(judge.judge)}, {judge.part}"


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def metric_lines(metric: Metric, missing: int) -> str:
    """The value; its 95% interval; and where verdicts are missing, the bounds in brackets. In percent, one a line."""
    lines = ["none" if metric.value is None else percent(metric.value)]
    if metric.low is not None and metric.high is not None:
        lines.append(f"{percent(metric.low)}-{percent(metric.high)}")
    if missing and metric.bound_low is not None and metric.bound_high is not None:
        lines.append(f"({percent(metric.bound_low)}-{percent(metric.bound_high)})")
    return "\n".join(lines)
