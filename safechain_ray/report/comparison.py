"""Documents that compare runs: differences of safety and benchmark runs from a baseline, and preferences."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from safechain_ray.metrics.benchmark import BenchmarkComparison, PassDifference
from safechain_ray.metrics.comparison import ComparedSettings, Comparison, Difference, OverRefusalDifference
from safechain_ray.metrics.preferences import Preferences, PreferenceShares, SettingPreferences
from safechain_ray.metrics.published import Counterpart
from safechain_ray.metrics.safety import PairedMeans
from safechain_ray.report.document import (
    Cell,
    Column,
    Document,
    Row,
    Table,
    cell,
    figure_cell,
    figure_columns,
    text_column,
)
from safechain_ray.report.glossary import metric_term, term_cell, term_column, term_columns
from safechain_ray.report.labels import (
    METRIC_LABELS,
    NO_FIGURE,
    OVER_REFUSAL,
    common_sampling,
    estimate_cell,
    p_value,
    percent,
    points,
    rows_cell,
    setting_label,
)
from safechain_ray.report.published import difference_notes
from safechain_ray.report.tables import FEW_PROMPTS

LEGEND = (
    "In percent, over the n prompts with verdicts on both sides: the figure of the baseline, then of the other. "
    "Difference: paired, in points, with its 95% interval, which is not corrected for multiple comparisons."
)

REFUSALS = "Safety is compared over harmful prompts. Over-refusal is compared over benign prompts: lower is better."

BENIGN = "benign prompts"

TESTED = (
    "p: McNemar's exact test, where K = 1, then with Holm's correction over this comparison's tests ({tests} in total)."
)

PUBLISHED = "Published: the difference of the paper's figures; * where a setting is not the paper's."

BENCHMARKS_LEGEND = (
    "In percent, over the n problems with grades on both sides: the figure of the baseline, then of the other. "
    "Difference: paired, in points, with its 95% interval, which is not corrected for multiple comparisons."
)


DIFFERENCE_COLUMNS = (term_column("baseline-other", "Baseline", "other"), *term_columns("difference", "n"))

TEST_COLUMN = term_column("p-holm", "p", "Holm")


def comparison_document(comparison: Comparison) -> Document:
    tables = [_table(comparison, run, list(pairs)) for run, pairs in groupby(comparison.pairs, lambda pair: pair.run)]
    return Document(tuple(tables), comparison.caveats, tuple(_notes(comparison)))


def benchmark_comparison_document(comparison: BenchmarkComparison) -> Document:
    """A table for each run beside the baseline."""
    runs = groupby(comparison.differences, lambda each: each.run)
    few = [each for each in comparison.differences if each.n < FEW_PROMPTS]
    return Document(
        tuple(_benchmark_table(comparison, run, tuple(differences)) for run, differences in runs),
        comparison.caveats,
        (
            *(f"{each.benchmark}, pass@{each.k}: {each.run} differs over only {each.n} problems." for each in few),
            *(f"Left out, because the other run has no counterpart: {each}." for each in comparison.left_out),
        ),
    )


def _table(comparison: Comparison, run: str, pairs: Sequence[ComparedSettings]) -> Table:
    tested = comparison.tests > 0
    published = comparison.paper
    common = common_sampling([setting for pair in pairs for setting in (pair.first, pair.second)])
    captions = [LEGEND]
    captions += [REFUSALS] if any(pair.over_refusal is not None for pair in pairs) else []
    captions += [TESTED.format(tests=comparison.tests)] if tested else []
    captions += [PUBLISHED] if published else []
    compared = run if comparison.between == "runs" else f"Strategies of {run}"
    return Table(
        title=" ".join([f"{compared} against {comparison.baseline}", *common.values()]),
        columns=(
            term_column("judge", "Setting; judge, part", is_figure=False),
            text_column("Figure"),
            *DIFFERENCE_COLUMNS,
            *([TEST_COLUMN] if tested else ()),
            *([term_column("published-pair", "Published")] if published else ()),
        ),
        groups=tuple(tuple(_rows(pair, common, tested, published)) for pair in pairs),
        caption=" ".join(captions),
    )


def _rows(pair: ComparedSettings, common: dict[str, str], tested: bool, published: bool) -> Iterator[Row]:
    for judge in pair.judges:
        name = cell(setting_label(pair.second, common), f"{judge.judge}, {judge.part}")
        star = "*" if judge.counterparts and any(each.differs for each in judge.counterparts) else ""
        for each in judge.differences:
            yield (
                name,
                term_cell(metric_term(each.metric), METRIC_LABELS[each.metric]),
                *_difference_cells(each, tested),
                *([cell("-" if each.published is None else points(each.published) + star)] if published else ()),
            )
            name = cell("")
    if pair.over_refusal is not None:
        yield (
            cell(setting_label(pair.second, common), BENIGN),
            term_cell("over-refusal", OVER_REFUSAL),
            *_difference_cells(pair.over_refusal, tested),
            *([cell(NO_FIGURE)] if published else ()),
        )


def _difference_cells(each: Difference | OverRefusalDifference | PassDifference, tested: bool) -> Row:
    """Baseline and other, their difference, the prompts or problems behind it, and its p-values if any are shown."""
    return (
        cell(percent(each.first), percent(each.second)),
        _difference_cell(each),
        rows_cell(each.n, each.n + each.left_out),
        *([_p_values_cell(each.p_value, each.p_adjusted)] if tested else ()),
    )


def _difference_cell(each: PairedMeans) -> Cell:
    """In points, and below it its interval."""
    if each.value is None or each.low is None or each.high is None:
        return cell("none")
    return figure_cell((points(each.value), f"{percent(each.low)} to {percent(each.high)}"))


def _p_values_cell(value: float | None, adjusted: float | None) -> Cell:
    return cell("-") if value is None or adjusted is None else cell(p_value(value), p_value(adjusted))


def _notes(comparison: Comparison) -> Iterator[str]:
    yield from comparison.other_judges
    yield from comparison.notes
    for pair in comparison.pairs:
        yield from _pair_notes(comparison, pair)
    for each in comparison.left_out:
        yield f"Left out: {setting_label(each.setting)} of {each.run}: {each.reason}."
    counterparts = dict(_counterparts(comparison))
    yield from difference_notes(counterparts)
    if comparison.paper and not counterparts:
        yield "No pair has published figures of both sides. --paper MODEL and --paper-dataset choose other figures."


def _pair_notes(comparison: Comparison, pair: ComparedSettings) -> Iterator[str]:
    first, second = setting_label(pair.first), setting_label(pair.second)
    if comparison.between == "runs" and first != second:
        yield f"{second} of {pair.run} is compared with {first} of {comparison.baseline}, the closest setting."
    both, here, there = pair.prompts
    if not pair.same_data or both < max(here, there):
        yield f"{second} of {pair.run}: compared over the {both:,} prompts that both have, of {here:,} and {there:,}."
    few = min((each.n for each in pair.differences), default=0)
    if few == 0:
        yield f"{second} of {pair.run}: some differences have no prompt with verdicts on both sides, so they are none."
    elif few < FEW_PROMPTS:
        yield f"{second} of {pair.run}: some differences rest on only {few} prompts."


def _counterparts(comparison: Comparison) -> Iterator[tuple[str, Counterpart]]:
    """The published settings behind the differences, each by its name."""
    for pair in comparison.pairs:
        for judge in pair.judges:
            if judge.counterparts is None:
                continue
            first = comparison.baseline if comparison.between == "runs" else pair.run
            sides = zip((first, pair.run), (pair.first, pair.second), judge.counterparts, strict=True)
            for run, setting, counterpart in sides:
                yield f"{run}: {setting_label(setting)}; {judge.judge}, {judge.part}", counterpart


def _benchmark_table(comparison: BenchmarkComparison, run: str, differences: Sequence[PassDifference]) -> Table:
    tested = comparison.tests > 0
    return Table(
        title=f"{run} against {comparison.baseline}",
        columns=(
            text_column("Benchmark"),
            text_column("Figure"),
            *DIFFERENCE_COLUMNS,
            *([TEST_COLUMN] if tested else ()),
        ),
        groups=(
            tuple(
                (cell(each.benchmark), term_cell("pass-at-k", f"pass@{each.k}"), *_difference_cells(each, tested))
                for each in differences
            ),
        ),
        is_sortable=True,
        caption=" ".join([BENCHMARKS_LEGEND, *([TESTED.format(tests=comparison.tests)] if tested else ())]),
    )


FIGURES = ("Pairs", "Win", "Tie", "Lose", "Win rate")

PREFERENCE_LEGEND = (
    "A's shares of the decided pairs in percent, with 95% intervals. A win needs the same choice in both orders. Where "
    "the order decides, the pair is a tie and counts under Orders differ. Win rate: a tie is half a win."
)


def preferences_document(found: Preferences, by_category: bool = False) -> Document:
    """The table, with `by_category` one more for each setting, and notes."""
    categories = [_category_table(setting) for setting in found.settings] if by_category else []
    return Document((_settings_table(found), *categories), found.caveats, tuple(_preference_notes(found)))


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
    return Table(setting_name(setting), columns, (rows,), f"* fewer than {FEW_PROMPTS} pairs. {PREFERENCE_LEGEND}")


def _legend(found: Preferences) -> str:
    if found.published is None:
        return PREFERENCE_LEGEND
    return f"{PREFERENCE_LEGEND} * {found.published_by}: A's shares there, by the paper's own judge."


def _cells(shares: PreferenceShares) -> Iterator[Cell]:
    decided = shares.pairs - shares.missing
    yield cell(f"{decided:,} of", f"{shares.pairs:,}") if shares.missing else cell(f"{decided:,}")
    yield from map(estimate_cell, (shares.win, shares.tie, shares.lose, shares.win_rate))


def _preference_notes(found: Preferences) -> Iterator[str]:
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
        (left.other_prompt, "samples, because their prompt has another text in the other run"),
        (left.samples_a, "samples that only A has"),
        (left.samples_b, "samples that only B has"),
    ]
    if any(count for count, _ in counts):
        yield f"Left out: {'; '.join(f'{count:,} {words}' for count, words in counts if count)}."
    for name, settings in (("A", left.settings_a), ("B", left.settings_b)):
        if settings:
            yield f"Left out, because the other run has no counterpart, or several: {', '.join(settings)} of {name}."
