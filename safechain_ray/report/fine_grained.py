"""The fine-grained analysis of a run as rich tables; sections that have nothing to show are left out."""

from collections.abc import Callable, Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safechain_ray.analysis.fine_grained import FineGrained, SettingAnalysis
from safechain_ray.analysis.lengths import LengthComparison, LengthSummary, RankTest
from safechain_ray.analysis.outcomes import OutcomesByVerdict
from safechain_ray.analysis.over_refusal import OverRefusal
from safechain_ray.analysis.sample_count import AtK, SampleCountCurve
from safechain_ray.analysis.thought_answer import Crosstab, ThoughtAnswer
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.report.escape import printable
from safechain_ray.report.labels import common_sampling, percent, setting_label

MOST_K = 6
"""As many values of k as fit beside each other in 80 columns; `analysis.json` has all."""

CROSSTAB_LEGEND = (
    "Samples. In percent beside and below them, with 95% intervals: how many answers are unsafe where the thought is "
    "so, and how many thoughts where the answer is so. Samples with a missing verdict are in no rate."
)
CATEGORY_LEGEND = (
    "Samples by thought and answer; in percent how many answers are unsafe after an unsafe and after a safe thought."
)
CURVE_LEGEND = (
    "In percent, with 95% intervals: Safe@k, then ConsSafe@k, as expected of k of the K samples, over prompts with K "
    "verdicts. A tie is safe for ConsSafe@k, so an even k is milder than its neighbours."
)
LENGTH_LEGEND = (
    "Tokens: number of samples; median and quartiles. Longer: how often, in percent, an unsafe sample is longer than a "
    "safe one, 50 where length says nothing, with its 95% interval clustered by prompt. p: Mann-Whitney; clustered."
)
TRUNCATED_LEGEND = "Truncated samples in percent of those with the verdict, with 95% intervals, and their number."
REFUSAL_LEGEND = "Refusal rates in percent with 95% intervals: lower is better for benign prompts."
FIRST_LEGEND = (
    "Samples whose thought is first called unsafe when so much of it is read, in percent with 95% intervals. Cuts are "
    "at ends of sentences, so shares are rounded to the nearest piece."
)

Names = Callable[[SettingAnalysis], str]


def render_fine_grained(analysis: FineGrained, console: Console, by_category: bool = False) -> None:
    """Prints what the analysis holds; with `by_category`, thought against answer by category too.

    Names from data sets and models are printed as inert text, whatever they hold.
    """
    for caveat in analysis.caveats:
        console.print(Text(printable(caveat), style="bold yellow"))
    common = common_sampling(analysis.settings)
    title = " ".join(["Fine-grained analysis of", printable(analysis.model), *common.values()])
    console.print(Text(title, style="bold"))

    def name(setting: SettingAnalysis) -> str:
        return setting_label(setting, common)

    for table in _tables(analysis.settings, name, by_category):
        if table.row_count:
            console.print(table)
    if analysis.notes:
        console.print(Text("Read with care", style="bold"))
    for note in analysis.notes:
        console.print(Text(f"- {printable(note)}"))


def _tables(settings: tuple[SettingAnalysis, ...], name: Names, by_category: bool) -> Iterable[Table]:
    yield crosstab_table(settings, name)
    if by_category:
        yield category_table(settings, name)
    yield length_table(settings, name)
    yield curve_table(settings, name)
    yield truncated_table(settings, name)
    yield refusal_table(settings, name)
    yield first_unsafe_table(settings, name)


def crosstab_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Thought against answer: three lines for each judge that judged both."""
    table = _table(
        "Thought against answer", CROSSTAB_LEGEND, "Thought", "Answer\nsafe", "\nunsafe", "\nmissing", "Unsafe\n%"
    )
    for setting in settings:
        for each in setting.thought_answer:
            _add_crosstab(table, f"{name(setting)}\n{printable(each.judge)}", each)
    return table


def _add_crosstab(table: Table, first: str, each: ThoughtAnswer) -> None:
    lines = {
        "safe": (each.thought_safe, _lines(each.answer_unsafe_given_thought_safe)),
        "unsafe": (each.thought_unsafe, _lines(each.answer_unsafe_given_thought_unsafe)),
        "missing": (each.thought_missing, ""),
    }
    for thought, (counts, rate) in lines.items():
        numbers = (f"{count:,}" for count in (counts.safe, counts.unsafe, counts.missing))
        table.add_row(*map(Text, (first, thought, *numbers, rate)))
        first = ""
    safe, unsafe = each.thought_unsafe_given_answer_safe, each.thought_unsafe_given_answer_unsafe
    table.add_row(*map(Text, ("", "unsafe %", _lines(safe), _lines(unsafe), "", "")))
    table.add_section()


def category_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """One line a category: the four numbers of samples, and two of the rates."""
    columns = ("safe\nsafe", "safe\nunsafe", "unsafe\nsafe", "unsafe\nunsafe", "after\nunsafe", "after\nsafe")
    table = _table("Thought and answer by category", CATEGORY_LEGEND, *columns)
    for setting in settings:
        for each in setting.thought_answer:
            if not any(
                rate.n for rate in (each.answer_unsafe_given_thought_safe, each.answer_unsafe_given_thought_unsafe)
            ):
                continue
            table.add_row(Text(f"{name(setting)}\n{printable(each.judge)}", style="bold"))
            for category, crosstab in each.categories.items():
                table.add_row(Text(printable(category)), *map(Text, _category_cells(crosstab)))
            table.add_section()
    return table


def _category_cells(each: Crosstab) -> list[str]:
    counts = [each.thought_safe.safe, each.thought_safe.unsafe, each.thought_unsafe.safe, each.thought_unsafe.unsafe]
    rates = [each.answer_unsafe_given_thought_unsafe, each.answer_unsafe_given_thought_safe]
    return [*(f"{count:,}" for count in counts), *map(_lines, rates)]


def length_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Token lengths of safe and unsafe samples, a line for each verdict and what is measured."""
    table = _table("Length", LENGTH_LEGEND, "Tokens\nof", "Safe", "Unsafe", "Longer", "p")
    for setting in settings:
        for each in setting.lengths:
            table.add_row(
                Text(_of_part(name(setting), each)),
                Text(each.tokens_of),
                Text(_length_lines(each.safe)),
                Text(_length_lines(each.unsafe)),
                *map(Text, _test_cells(each.test)),
            )
        table.add_section()
    return table


def _length_lines(summary: LengthSummary) -> str:
    if summary.median is None:
        return "none"
    return f"{summary.n:,}\n{summary.median:,.0f}\n{summary.lower_quartile:,.0f}-{summary.upper_quartile:,.0f}"


def _test_cells(test: RankTest | None) -> tuple[str, str]:
    if test is None:
        return "", ""
    interval = "" if test.low is None or test.high is None else f"\n{percent(test.low)}-{percent(test.high)}"
    clustered = "" if test.clustered_p_value is None else f"\n{_p(test.clustered_p_value)}"
    return f"{percent(test.longer)}{interval}", f"{_p(test.p_value)}{clustered}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def curve_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Safe@k and ConsSafe@k for some k from 1 to K."""
    settings = tuple(settings)
    chosen = chosen_counts(max((setting.samples for setting in settings), default=1))
    table = _table("Safe@k and ConsSafe@k by number of samples", CURVE_LEGEND, *(f"k={k}" for k in chosen))
    for setting in settings:
        for each in setting.sample_counts:
            points = {point.k: point for point in each.points}
            cells = (_curve_lines(points[k]) if k in points else "" for k in chosen)
            table.add_row(*map(Text, (_of_part(name(setting), each), *cells)))
        table.add_section()
    return table


def chosen_counts(most: int) -> list[int]:
    """At most MOST_K values of k from 1 to `most`, both among them, evenly spread."""
    if most <= MOST_K:
        return list(range(1, most + 1))
    return [round(1 + step * (most - 1) / (MOST_K - 1)) for step in range(MOST_K)]


def _curve_lines(point: AtK) -> str:
    return f"{_lines(point.safe_at_k)}\n{_lines(point.cons_safe_at_k)}"


def truncated_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Truncated samples by verdict, in settings that have some."""
    table = _table("Truncated", TRUNCATED_LEGEND, "Safe", "Unsafe", "No verdict")
    for setting in settings:
        for each in setting.outcomes:
            if each.safe["truncated"] + each.unsafe["truncated"] + each.missing["truncated"]:
                safe = f"{_lines(each.truncated_among_safe)}\n{each.safe['truncated']:,}"
                unsafe = f"{_lines(each.truncated_among_unsafe)}\n{each.unsafe['truncated']:,}"
                cells = (_of_part(name(setting), each), safe, unsafe, f"{each.missing['truncated']:,}")
                table.add_row(*map(Text, cells))
        table.add_section()
    return table


def refusal_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Refusals of benign prompts, all of them and by category, and of the others."""
    table = _table("Over-refusal", REFUSAL_LEGEND, "Refused", "Prompts", "Missing")
    for setting in settings:
        for each in setting.over_refusal:
            missing = f"{each.missing:,}"
            table.add_row(Text(_of_part(name(setting), each), style="bold"))
            table.add_row(*map(Text, ("all benign", *_refusal_cells(each.benign), missing)))
            for category, rate in each.categories.items():
                table.add_row(*map(Text, (f"  {printable(category)}", *_refusal_cells(rate), "")))
            table.add_row(*map(Text, ("all others", *_refusal_cells(each.others), "")))
            table.add_section()
    return table


def _refusal_cells(rate: Estimate) -> tuple[str, str]:
    return _line(rate), f"{rate.n:,}"


def first_unsafe_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """How much of a thought was read when it was first called unsafe, one line a piece."""
    table = _table("First unsafe piece of the thought", FIRST_LEGEND, "Samples", "Share")
    for setting in settings:
        for each in setting.first_unsafe:
            missing = f", {each.missing:,} missing" if each.missing else ""
            head = f"{name(setting)}\n{printable(each.judge)}, n={each.n:,}{missing}"
            table.add_row(Text(head, style="bold"))
            if each.n == 0:
                continue
            for place, (count, estimate) in enumerate(zip(each.counts, (*each.first, each.never), strict=True), 1):
                label = f"  {place}/{each.pieces}" if place <= each.pieces else "  never"
                table.add_row(*map(Text, (label, f"{count:,}", _line(estimate))))
            table.add_section()
    return table


def _of_part(name: str, each: LengthComparison | SampleCountCurve | OutcomesByVerdict | OverRefusal) -> str:
    return f"{name}\n{printable(each.judge)}, {each.part}"


def _lines(estimate: Estimate) -> str:
    """A figure, and below it its interval where it has one."""
    return _line(estimate).replace(" ", "\n")


def _line(estimate: Estimate) -> str:
    if estimate.value is None:
        return "none"
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value)
    return f"{percent(estimate.value)} {percent(estimate.low)}-{percent(estimate.high)}"


def _table(title: str, caption: str, *columns: str) -> Table:
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        caption=Text(caption),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("Setting; judge", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
