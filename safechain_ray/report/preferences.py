"""Preferences between two runs as tables: wins, ties and losses, by setting and by category."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.preferences import Preferences, PreferenceShares, SettingPreferences
from safechain_ray.report.escape import printable
from safechain_ray.report.labels import percent
from safechain_ray.report.notes import FEW_PROMPTS

FIGURES = ("Pairs", "Win", "Tie", "Lose", "Win rate")

LEGEND = (
    "A's shares of the decided pairs in percent, with 95% intervals. A win is one in both orders of showing; where the "
    "order decides it is a tie, and counted under Orders differ. Win rate: a tie is half a win."
)


def render_preferences(found: Preferences, console: Console, by_category: bool = False) -> None:
    """Prints the table, with `by_category` one a setting more, and what to know; foreign names as inert text."""
    for caveat in found.caveats:
        console.print(Text(caveat, style="bold yellow"))
    console.print(_settings_table(found))
    if by_category:
        for setting in found.settings:
            console.print(_category_table(setting))
    notes = list(_notes(found))
    if notes:
        console.print(Text("Read with care", style="bold"))
    for note in notes:
        console.print(Text(f"- {printable(note)}"))


def headline(found: Preferences) -> str:
    judge, a, b = map(printable, (found.judge, found.model_a, found.model_b))
    return f"{a} (A, {found.part_a}) against {b} (B, {found.part_b}), preferred by {judge}"


def setting_name(setting: SettingPreferences) -> str:
    """The setting, or both where they are not the same."""
    first, second = setting.setting_a.setting_id, setting.setting_b.setting_id
    return printable(first if first == second else f"A {first}, B {second}")


def _settings_table(found: Preferences) -> Table:
    table = _table(headline(found), _legend(found))
    table.add_column("Setting", overflow="fold")
    for name in (*FIGURES, "Orders\ndiffer"):
        table.add_column(name, justify="right", no_wrap=True)
    for setting in found.settings:
        table.add_row(Text(setting_name(setting)), *_cells(setting), Text(_figure(setting.orders_differ)))
    if found.published is not None:
        table.add_section()
        table.add_row(Text("published *"), "", *map(percent, found.published), "", "")
    return table


def _category_table(setting: SettingPreferences) -> Table:
    table = _table(setting_name(setting), f"* fewer than {FEW_PROMPTS} pairs. {LEGEND}")
    table.add_column("Category", overflow="fold")
    for name in FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    for category, shares in setting.categories.items():
        star = " *" if shares.pairs < FEW_PROMPTS else ""
        table.add_row(Text(printable(category) + star), *_cells(shares))
    return table


def _legend(found: Preferences) -> str:
    if found.published is None:
        return LEGEND
    return f"{LEGEND} * {found.published_by}: A's shares there, by the paper's own judge."


def _cells(shares: PreferenceShares) -> Iterator[Text]:
    decided = shares.pairs - shares.missing
    yield Text(f"{decided:,}" if not shares.missing else f"{decided:,} of\n{shares.pairs:,}")
    for estimate in (shares.win, shares.tie, shares.lose, shares.win_rate):
        yield Text(_figure(estimate))


def _figure(estimate: Estimate) -> str:
    """`32.3`, and its interval below it."""
    lines = ["none" if estimate.value is None else percent(estimate.value)]
    if estimate.low is not None and estimate.high is not None:
        lines.append(f"{percent(estimate.low)}-{percent(estimate.high)}")
    return "\n".join(lines)


def _notes(found: Preferences) -> Iterator[str]:
    for setting in found.settings:
        said = [
            (setting.unanswered, "pairs lack a response (errors, blocked)"),
            (setting.judge_errors, "pairs the judge could not decide"),
            (setting.cut, "pairs were cut to fit the judge's context"),
        ]
        if any(count for count, _ in said):
            yield f"{setting_name(setting)}: {'; '.join(f'{count:,} {words}' for count, words in said if count)}."
    left = found.left_out
    said = [
        (left.other_prompt, "samples, as their prompt has another text in the other run"),
        (left.samples_a, "samples that only A has"),
        (left.samples_b, "samples that only B has"),
    ]
    if any(count for count, _ in said):
        yield f"Left out: {'; '.join(f'{count:,} {words}' for count, words in said if count)}."
    for name, settings in (("A", left.settings_a), ("B", left.settings_b)):
        if settings:
            yield f"Left out, as nothing stands against it, or more than one: {', '.join(settings)} of {name}."


def _table(title: str, caption: str) -> Table:
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        caption=Text(caption),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
