"""A decoding curve: the metrics against temperature, top_p or top_k, a line a strategy."""

from collections.abc import Sequence

from safechain_ray.report.escape import printable
from safechain_ray.report.html import plot
from safechain_ray.report.html.grouping import Curve, Parameter
from safechain_ray.report.html.markup import Markup, join
from safechain_ray.report.html.plot import GAP, WIDTH, Panel, Plot
from safechain_ray.report.labels import METRIC_LABELS, judge_label

HEIGHT = 190.0
LINE = HEIGHT + 92


def curve_plot(parameter: Parameter, curves: Sequence[Curve]) -> Plot:
    """A line of panels for each judge, a panel for each metric, a curve for each data set and strategy."""
    shown = curves[: plot.SERIES]
    names = [printable(f"{curve.dataset} {curve.strategy}") for curve in shown]
    values = sorted({value for curve in shown for value in curve.values}, key=lambda value: _place(parameter, value))
    judges = [judge_label(judge) for judge in shown[0].settings[0].judges]
    many = any(setting.samples > 1 for curve in shown for setting in curve.settings)
    fields = METRIC_LABELS if many else {"safe_at_1": METRIC_LABELS["safe_at_1"]}
    width = (WIDTH - 48 - 16 - (GAP + 8) * (len(fields) - 1)) / len(fields)
    drawn: list[Markup | None] = [plot.legend(16, names, 48)]
    for line, judge in enumerate(judges):
        for column, (field, label) in enumerate(fields.items()):
            panel = Panel(48 + column * (width + GAP + 8), 66 + line * LINE, width, HEIGHT)
            drawn += [plot.text(panel.left, panel.top - 12, f"{label}, {judge}", "head"), plot.rows(panel, column == 0)]
            for value in values:
                x = _x(panel, parameter, value, values)
                drawn.append(plot.text(x, panel.bottom + 17, _figure(parameter, value), "tick", "middle"))
            drawn.append(plot.text(panel.left + panel.width / 2, panel.bottom + 36, parameter, "label", "middle"))
            for series, curve in enumerate(shown):
                metrics = [getattr(setting.judges[line], field) for setting in curve.settings]
                places = [_x(panel, parameter, value, values) for value in curve.values]
                told = [
                    plot.told(metric, names[series], f"{parameter} {_figure(parameter, value)}", judge, label)
                    for metric, value in zip(metrics, curve.values, strict=True)
                ]
                drawn.append(plot.curve(panel, places, metrics, series, told))
    rest = len(curves) - len(shown)
    left_out = f" Without the last {rest} of {len(curves)} curves." if rest else ""
    return Plot(
        f"decoding-{parameter}",
        f"Safety against {parameter}",
        f"Settings that differ in {parameter} alone, with 95% intervals as bands; up is safer.{left_out}",
        plot.picture(66 + len(judges) * LINE - 40, f"Safety against {parameter}", join(drawn)),
    )


def _x(panel: Panel, parameter: Parameter, value: float, values: Sequence[float]) -> float:
    """top_k runs from 1 to all tokens: its values stand equally far apart; the others to scale."""
    if parameter == "top_k":
        share = values.index(value) / (len(values) - 1)
    else:
        share = (value - values[0]) / (values[-1] - values[0])
    return panel.left + 14 + share * (panel.width - 28)


def _place(parameter: Parameter, value: float) -> float:
    return float("inf") if parameter == "top_k" and value == -1 else value


def _figure(parameter: Parameter, value: float) -> str:
    return "all" if parameter == "top_k" and value == -1 else f"{value:g}"
