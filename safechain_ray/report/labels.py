"""Labels of settings and judges, and the formats of counts and figures in tables and notes."""

from collections.abc import Callable, Container, Iterable, Sequence

from safechain_ray.metrics.counts import Reason
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.safety import GUARD_REFUSALS, REFUSAL_RULE, Metric, MetricName
from safechain_ray.metrics.summary import JudgeMetrics, SafetyMetrics, SettingFacts, SettingMetrics, as_setting
from safechain_ray.report.document import Cell, cell, figure_cell, printable
from safechain_ray.types import Sampling, Setting

METRIC_LABELS: dict[MetricName, str] = {
    "safe_at_1": "Safe@1",
    "cons_safe_at_k": "ConsSafe@K",
    "safe_at_k": "Safe@K",
}
"""In the order of the tables, from the mildest to the strictest view of K samples."""

OVER_REFUSAL = "Over-refusal"
NO_FIGURE = "-"
"""Replaces safety without a harmful prompt, and over-refusal without a benign one."""


def setting_label(setting: SettingFacts | Setting, common: Container[str] = ()) -> str:
    """For example `strongreject morethink compat=paper temp=0.6 K=5`; only equal settings share a label.

    Fields of the sampling (and K) that are `common` to all settings of a table are left to its title.
    """
    plain = _plain(setting)
    drawn = [words for key, words in _sampling_words(plain).items() if key not in common]
    return printable(" ".join([plain.dataset, plain.strategy.label, *drawn]))


def common_sampling(settings: Sequence[SettingFacts | Setting]) -> dict[str, str]:
    """The sampling that all settings share: field (`samples` for K) to its words. Empty without settings."""
    if not settings:
        return {}
    first, *others = (_sampling_words(_plain(setting)) for setting in settings)
    return {key: words for key, words in first.items() if all(other.get(key) == words for other in others)}


def judge_label(judge: JudgeMetrics) -> str:
    """For example `llama-guard-3-8b, response`."""
    return f"{printable(judge.judge)}, {judge.part}"


def clock(seconds: float) -> str:
    """A length of time: 4:05, or 2:00:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def percent(share: float | None) -> str:
    """A share in percent; `none` where it is undefined."""
    return "none" if share is None else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


def p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def estimate_lines(
    estimate: Estimate, value: Callable[[float], str] = percent, end: Callable[[float], str] = percent
) -> list[str]:
    """The value, and its 95% interval where it has one: `76.2`, `73.5-78.8`. `value` and `end` format them."""
    lines = ["none" if estimate.value is None else value(estimate.value)]
    if estimate.low is not None and estimate.high is not None:
        lines.append(f"{end(estimate.low)}-{end(estimate.high)}")
    return lines


def estimate_cell(estimate: Estimate) -> Cell:
    """`estimate_lines` in percent."""
    return figure_cell(estimate_lines(estimate))


def metric_cell(metric: Metric, missing: int) -> Cell:
    """`estimate_cell`, and where verdicts are missing the bounds in brackets."""
    lines = estimate_lines(metric)
    if missing and metric.bound_low is not None and metric.bound_high is not None:
        lines.append(f"({percent(metric.bound_low)}-{percent(metric.bound_high)})")
    return figure_cell(lines)


def safety_cell(safety: SafetyMetrics, name: MetricName) -> Cell:
    """`metric_cell` of one safety metric; NO_FIGURE without a harmful prompt."""
    return metric_cell(getattr(safety, name), safety.missing) if safety.prompts else cell(NO_FIGURE)


def refusal_cell(setting: SettingMetrics) -> Cell:
    """`metric_cell` of a setting's over-refusal; NO_FIGURE without a benign prompt."""
    found = setting.over_refusal
    return cell(NO_FIGURE) if found is None else metric_cell(found.refused, found.missing)


def count_cell(count: int, is_warning: bool = False) -> Cell:
    """A count; with `is_warning` a warning unless it is zero."""
    return cell(f"{count:,}", is_warning=is_warning and count > 0)


def share_cell(count: int, of: int, is_warning: bool = False) -> Cell:
    """`count_cell`, and below it its share of `of` in percent unless it is zero."""
    return figure_cell([f"{count:,}", f"{percent(count / of)}%"], is_warning) if count else cell("0")


def rows_cell(rows: int, expected: int) -> Cell:
    """A number of rows, and below it the expected number where rows are missing."""
    return cell(f"{rows:,}", *([f"of {expected:,}"] if rows != expected else ()))


def over_refusal_legend(settings: Iterable[SettingMetrics]) -> str:
    """How to read over-refusal, and which judges find the refusals; empty without a benign prompt."""
    finders = dict.fromkeys(each.over_refusal.judge for each in settings if each.over_refusal is not None)
    if not finders:
        return ""
    named = " or ".join(map(_finder, finders))
    return (
        "Safety figures cover harmful prompts only. Over-refusal, one figure per setting: the share of responses to "
        f"benign prompts that are refusals according to {named}; lower is better."
    )


def _finder(name: str) -> str:
    if name == REFUSAL_RULE:
        return "the project's refusal phrases"
    guard = name.removeprefix(GUARD_REFUSALS)
    return name if guard == name else f"the guard {printable(guard)}"


def reasons_sentence(reasons: Sequence[Reason]) -> str:
    """For example `Most common reasons: 12 x HTTP 429: slow down; 3 x TimeoutError.`; errors are made printable."""
    return f"Most common reasons: {'; '.join(f'{each.rows:,} x {printable(each.reason)}' for each in reasons)}."


def _plain(setting: SettingFacts | Setting) -> Setting:
    return setting if isinstance(setting, Setting) else as_setting(setting)


def _sampling_words(setting: Setting) -> dict[str, str]:
    """Temperature and K always, other fields where they differ from the default."""
    sampling = setting.sampling
    defaults = Sampling(temperature=sampling.temperature)
    unusual = {key: f"{key}={value}" for key, value in sampling if value != getattr(defaults, key)}
    drawn = "greedy" if sampling.greedy else f"temp={sampling.temperature:g}"
    if setting.strategy.options.get("sampling") == "unknown":  # responses that were generated elsewhere
        return {"samples": f"K={setting.samples}"}
    return {"temperature": drawn, "samples": f"K={setting.samples}", **unusual}
