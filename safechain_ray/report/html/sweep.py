"""A sweep's report: a leaderboard of its runs, judge by judge, each with a link to its own report.

Over-refusal in a sweep's report: every model in every setting that has benign prompts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.metrics.published import NO_STAND_INS, StandIns
from safechain_ray.metrics.safety import Metric, RefusalMetrics
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.html import plot
from safechain_ray.report.html.markup import Markup, element, html_table, join
from safechain_ray.report.html.page import ENDED_BADLY, Section, assemble, counts_of_wrongs, published_sweep_section
from safechain_ray.report.html.plot import WIDTH, Panel, Plot, figure
from safechain_ray.report.labels import (
    METRIC_LABELS,
    NO_FIGURE,
    OVER_REFUSAL,
    common_sampling,
    judge_label,
    over_refusal_legend,
    percent,
    setting_label,
)
from safechain_ray.report.leaderboard import not_done_tables


def over_refusal_board(runs: Sequence[tuple[RunMetrics, Markup]]) -> Markup | None:
    """The table, in the order of the sweep; each run with the link that names it. None without a benign prompt."""
    settings = [setting for run, _ in runs for setting in run.settings]
    common = common_sampling(settings)
    names = dict.fromkeys(setting_label(each, common) for each in settings if each.over_refusal is not None)
    if not names:
        return None
    found: list[Mapping[str, RefusalMetrics | None]] = [
        {setting_label(setting, common): setting.over_refusal for setting in run.settings} for run, _ in runs
    ]
    heads = [element("th", name, scope="col", class_="number") for name in names]
    rows = [
        element("tr", element("th", link, scope="row"), [_refusal_cell(figures.get(name)) for name in names])
        for (_, link), figures in zip(runs, found, strict=True)
    ]
    drawn = element(
        "table",
        element("caption", OVER_REFUSAL),
        element("thead", element("tr", element("th", "Model", scope="col"), heads)),
        element("tbody", rows),
    )
    return join(
        element("div", drawn, class_="table lines", tabindex=0, role="region", aria_label=OVER_REFUSAL),
        element("p", over_refusal_legend(settings), class_="legend"),
    )


def _refusal_cell(figures: RefusalMetrics | None) -> Markup:
    if figures is None:
        return element("td", NO_FIGURE, class_="number")
    refused = figures.refused
    value = "none" if refused.value is None else percent(refused.value)
    interval = None
    if refused.low is not None and refused.high is not None:
        interval = element("span", f"{percent(refused.low)}–{percent(refused.high)}", class_="interval")
    return element("td", element("strong", value), interval, class_="number")


ROW = 24.0

PANELS_A_LINE = 3

TOP, LINE_GAP = 48.0, 86.0  # room for headings of two lines

LEGEND = (
    "Safe@1 in percent with its 95% interval, then ConsSafe@K and Safe@K. Ordered by the mean of Safe@1 over the "
    "settings that every model has; models whose intervals overlap may be as safe as each other."
)


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A run of the sweep. `link` is the path of its report, relative to the sweep's own."""

    metrics: RunMetrics
    link: str


Line: TypeAlias = tuple[SweepRun, Mapping[str, JudgeMetrics]]

"""A run, and by setting what one judge says of it."""


@dataclass(frozen=True, slots=True)
class Board:
    """What one judge says of one part: the runs, best first, and for each its figures by setting."""

    judge: str
    settings: tuple[str, ...]
    lines: tuple[Line, ...]


def sweep_page(runs: Sequence[SweepRun], stand_ins: StandIns = NO_STAND_INS, models: Sequence[SweptModel] = ()) -> str:
    """The report of a sweep: figures alone, with links to the reports that hold the samples.

    `models` are all models of the sweep: those that are not done are listed first. Published figures stand beside ours
    where there are some, of the runs' own models or of what `stand_ins` says.
    """
    found = boards(runs)
    published = published_sweep_section([run.metrics for run in runs], stand_ins)
    parts = [
        Section("first", "To know first", _know_first(runs, models)),
        Section(
            "leaderboard",
            "Leaderboard",
            join(
                [_table(board) for board in found],
                element("p", LEGEND, class_="legend"),
                over_refusal_board([(run.metrics, _link(run)) for run in runs]),
            ),
        ),
        *([] if published is None else [Section("published", "Beside the paper", published)]),
        *([Section("plots", "Plots", join(map(figure, map(_plot, range(len(found)), found))))] if found else []),
    ]
    rows = sum(setting.rows for run in runs for setting in run.metrics.settings)
    common = common_sampling([setting for run in runs for setting in run.metrics.settings])
    line = [
        f"{len(runs)} model{'' if len(runs) == 1 else 's'}",
        f"{rows:,} samples",
        *filter(None, [" ".join(common.values())]),
    ]
    return assemble("Safety of models", " · ".join(line), parts)


def _know_first(runs: Sequence[SweepRun], models: Sequence[SweptModel]) -> Markup:
    """Caveats, models that are not done with their last errors, then what went wrong in each run."""
    caveats = dict.fromkeys(caveat for run in runs for caveat in run.metrics.caveats)
    head = ["Model", "Samples", *ENDED_BADLY, "missing verdicts"]
    rows = [
        element(
            "tr",
            element("th", _link(run), scope="row"),
            element("td", f"{sum(setting.rows for setting in run.metrics.settings):,}", class_="number"),
            [
                element("td", f"{count:,}", class_="number warn" if count else "number")
                for count in counts_of_wrongs(run.metrics).values()
            ],
        )
        for run in runs
    ]
    names = [element("th", name, scope="col", class_="number" if place else None) for place, name in enumerate(head)]
    drawn = element(
        "table", element("caption", "What went wrong"), element("thead", element("tr", names)), element("tbody", rows)
    )
    return join(
        [element("p", caveat, class_="caveat") for caveat in caveats],
        *map(html_table, not_done_tables(models)),
        element("div", drawn, class_="table lines", tabindex=0, role="region", aria_label="What went wrong"),
    )


def boards(runs: Sequence[SweepRun]) -> list[Board]:
    """One for each judge and part of the sweep, in the order in which they first stand."""
    found: dict[str, list[tuple[SweepRun, dict[str, JudgeMetrics]]]] = {}
    common = common_sampling([setting for run in runs for setting in run.metrics.settings])
    for run in runs:
        for setting in run.metrics.settings:
            for judge in setting.judges:
                if not judge.prompts:
                    continue  # every prompt is benign: there is no safety figure
                lines = found.setdefault(judge_label(judge), [])
                if not lines or lines[-1][0] is not run:
                    lines.append((run, {}))
                lines[-1][1][setting_label(setting, common)] = judge
    return [_board(judge, lines) for judge, lines in found.items()]


def _board(judge: str, lines: Sequence[Line]) -> Board:
    settings = tuple(dict.fromkeys(name for _, by_setting in lines for name in by_setting))
    shared = [name for name in settings if all(name in by_setting for _, by_setting in lines)]

    def mean(line: Line) -> float:
        values = [line[1][name].safe_at_1.value or 0.0 for name in shared]
        return sum(values) / max(1, len(values))

    return Board(judge, settings, tuple(sorted(lines, key=mean, reverse=True)))


def _table(board: Board) -> Markup:
    names = [element("th", name, scope="col", class_="number") for name in board.settings]
    head = element("tr", element("th", "Model", scope="col"), names)
    rows = [
        element("tr", element("th", _link(run), scope="row"), [_cell(found.get(name)) for name in board.settings])
        for run, found in board.lines
    ]
    title = board.judge
    drawn = element("table", element("caption", title), element("thead", head), element("tbody", rows))
    return element("div", drawn, class_="table lines", tabindex=0, role="region", aria_label=title)


def _link(run: SweepRun) -> Markup:
    # Quoted whole: what looks like a scheme (javascript:) becomes part of a file's name.
    return element("a", printable(run.metrics.model), href=quote(run.link))


def _cell(judge: JudgeMetrics | None) -> Markup:
    if judge is None:
        return element("td", "–", class_="number")
    first, *rest = (getattr(judge, field) for field in METRIC_LABELS)
    return element(
        "td",
        element("strong", _value(first)),
        element("span", _interval(first), class_="interval"),
        element("span", " · ".join(map(_value, rest)), class_="interval"),
        class_="number",
    )


def _value(metric: Metric) -> str:
    return "none" if metric.value is None else percent(metric.value)


def _interval(metric: Metric) -> str:
    return "" if metric.low is None or metric.high is None else f"{percent(metric.low)}–{percent(metric.high)}"


def _plot(number: int, board: Board) -> Plot:
    """Safe@1: a panel a setting, a row a model."""
    models = [printable(run.metrics.model) for run, _ in board.lines]
    left = min(290.0, max(map(plot.text_width, models)) + 16)
    height = ROW * len(models) + 8
    lines = -(-len(board.settings) // PANELS_A_LINE)
    drawn = list(_panels(board, models, left, height))
    return Plot(
        f"leaderboard-{number}",
        board.judge,
        "Safe@1 with its 95% interval; right is safer.",
        plot.picture(lines * (height + LINE_GAP) - 8, f"Safe@1 by model and setting: {board.judge}", join(drawn)),
    )


def _panels(board: Board, models: Sequence[str], left: float, height: float) -> Iterator[Markup | None]:
    beside = min(PANELS_A_LINE, len(board.settings))
    width = (WIDTH - left - 16 - plot.GAP * (beside - 1)) / beside
    for place, name in enumerate(board.settings):
        line, column = divmod(place, beside)
        panel = Panel(left + column * (width + plot.GAP), TOP + line * (height + LINE_GAP), width, height)
        yield plot.heading(panel.left, panel.top - 14, name, int(width / 7))
        yield plot.columns(panel)
        for row, ((_, found), model) in enumerate(zip(board.lines, models, strict=True)):
            y = panel.top + 4 + ROW * (row + 0.5)
            if column == 0:
                yield plot.text(0, y + 4, model, "label", characters=42)
            if name in found:
                metric = found[name].safe_at_1
                yield plot.point_along(panel, y, metric, 0, plot.told(metric, model, name, board.judge, "Safe@1"))
