"""Settings that share a plot because they can be compared: they differ only in the strategy, or in one parameter."""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from safechain_ray.metrics.summary import RunMetrics, SettingMetrics, as_setting
from safechain_ray.report.document import printable

Parameter = Literal["temperature", "top_p", "top_k"]

PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)

FEWEST_POINTS = 3
"""Two points make no curve; the other plots compare two settings."""


@dataclass(frozen=True, slots=True)
class StrategyGroup:
    """The settings of a data set under one sampling and K: they differ in the strategy alone."""

    dataset: str
    settings: tuple[SettingMetrics, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Settings that differ in `parameter` alone, in its order."""

    parameter: Parameter
    dataset: str
    strategy: str
    settings: tuple[SettingMetrics, ...]

    @property
    def values(self) -> list[float]:
        return [setting.sampling[self.parameter] for setting in self.settings]


def strategy_label(setting: SettingMetrics) -> str:
    """For example `morethink compat=paper`."""
    return printable(" ".join([setting.strategy, *as_setting(setting).strategy.words]))


def strategy_groups(metrics: RunMetrics) -> list[StrategyGroup]:
    """For each data set the sampling with the most strategies, the first one of equals."""
    by_sampling: defaultdict[str, defaultdict[Hashable, list[SettingMetrics]]] = defaultdict(lambda: defaultdict(list))
    for setting in metrics.settings:
        by_sampling[setting.dataset][_sampling_key(setting)].append(setting)
    return [
        max(
            (StrategyGroup(name, tuple(settings)) for settings in groups.values()),
            key=lambda group: len(group.settings),
        )
        for name, groups in by_sampling.items()
    ]


def curves(metrics: RunMetrics) -> list[Curve]:
    """Every curve of three settings or more, by parameter."""
    return [curve for parameter in PARAMETERS for curve in _curves(metrics, parameter)]


def sort_key(parameter: Parameter, value: float) -> float:
    """The value; a top_k of -1 means all tokens, more than any other."""
    return float("inf") if parameter == "top_k" and value == -1 else value


def _curves(metrics: RunMetrics, parameter: Parameter) -> Iterator[Curve]:
    groups: defaultdict[Hashable, list[SettingMetrics]] = defaultdict(list)
    for setting in metrics.settings:
        groups[setting.dataset, strategy_label(setting), _sampling_key(setting, without=parameter)].append(setting)
    for settings in groups.values():
        if len(settings) >= FEWEST_POINTS:
            ordered = sorted(settings, key=lambda setting: sort_key(parameter, setting.sampling[parameter]))
            yield Curve(parameter, settings[0].dataset, strategy_label(settings[0]), tuple(ordered))


def _sampling_key(setting: SettingMetrics, without: str = "") -> Hashable:
    others = tuple(sorted((key, value) for key, value in setting.sampling.items() if key != without))
    return setting.samples, others
