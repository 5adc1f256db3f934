"""The document of preferences between two runs: wins, ties and losses, by setting and by category."""

from collections.abc import Iterator

from safechain_ray.metrics.preferences import Preferences, PreferenceShares, SettingPreferences
from safechain_ray.report.document import Cell, Column, Document, Row, Table, cell, figure_columns, text_column
from safechain_ray.report.labels import estimate_cell, percent, setting_label
from safechain_ray.report.tables import FEW_PROMPTS

FIGURES = ("Pairs", "Win", "Tie", "Lose", "Win rate")

LEGEND = (
    "A's shares of the decided pairs in percent, with 95% intervals. A win is one in both orders of showing; where the "
    "order decides it is a tie, and counted under Orders differ. Win rate: a tie is half a win."
)


def preferences_document(found: Preferences, by_category: bool = False) -> Document:
    """The table, with `by_category` one more for each setting, and notes."""
    categories = [_category_table(setting) for setting in found.settings] if by_category else []
    return Document((_settings_table(found), *categories), found.caveats, tuple(_notes(found)))


def headline(found: Preferences) -> str:
    against = f"{found.model_a} (A, {found.part_a}) against {found.model_b} (B, {found.part_b})"
    return f"{against}, preferred by {found.judge}"


def setting_name(setting: SettingPreferences) -> str:
    """The setting, or both settings where they differ."""
    first, second = setting_label(setting.setting_a), setting_label(setting.setting_b)
    return first if first == second else f"A {first}, B {second}"


def _settings_table(found: Preferences) -> Table:
    rows = tuple(
        (cell(setting_name(setting)), *_cells(setting), estimate_cell(setting.orders_differ))
        for setting in found.settings
    )
    published: tuple[Row, ...] = ()
    if found.published is not None:
        shares = map(cell, map(percent, found.published))
        published = ((cell("published *"), cell(""), *shares, cell(""), cell("")),)
    columns = (text_column("Setting"), *figure_columns(*FIGURES), Column(("Orders", "differ")))
    return Table(headline(found), columns, (rows, published) if published else (rows,), _legend(found))


def _category_table(setting: SettingPreferences) -> Table:
    rows = tuple(
        (cell(category + (" *" if shares.pairs < FEW_PROMPTS else "")), *_cells(shares))
        for category, shares in setting.categories.items()
    )
    columns = (text_column("Category"), *figure_columns(*FIGURES))
    return Table(setting_name(setting), columns, (rows,), f"* fewer than {FEW_PROMPTS} pairs. {LEGEND}")


def _legend(found: Preferences) -> str:
    if found.published is None:
        return LEGEND
    return f"{LEGEND} * {found.published_by}: A's shares there, by the paper's own judge."


def _cells(shares: PreferenceShares) -> Iterator[Cell]:
    decided = shares.pairs - shares.missing
    yield cell(f"{decided:,} of", f"{shares.pairs:,}") if shares.missing else cell(f"{decided:,}")
    yield from map(estimate_cell, (shares.win, shares.tie, shares.lose, shares.win_rate))


def _notes(found: Preferences) -> Iterator[str]:
    for setting in found.settings:
        counts = [
            (setting.unanswered, "pairs lack a response (errors, blocked)"),
            (setting.judge_errors, "pairs the judge could not decide"),
            (setting.cut, "pairs were cut to fit the judge's context"),
        ]
        if any(count for count, _ in counts):
            yield f"{setting_name(setting)}: {'; '.join(f'{count:,} {words}' for count, words in counts if count)}."
    left = found.left_out
    counts = [
        (left.other_prompt, "samples, as their prompt has another text in the other run"),
        (left.samples_a, "samples that only A has"),
        (left.samples_b, "samples that only B has"),
    ]
    if any(count for count, _ in counts):
        yield f"Left out: {'; '.join(f'{count:,} {words}' for count, words in counts if count)}."
    for name, settings in (("A", left.settings_a), ("B", left.settings_b)):
        if settings:
            yield f"Left out, as the other run has no counterpart, or several: {', '.join(settings)} of {name}."
