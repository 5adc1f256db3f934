"""The document of a run's fine-grained analysis; tables without rows are left out."""

from collections.abc import Callable, Iterable

from safechain_ray.analysis.fine_grained import (
    AtK,
    FineGrained,
    OutcomesByVerdict,
    OverRefusal,
    SampleCountCurve,
    SettingAnalysis,
)
from safechain_ray.analysis.thought_answer import Crosstab, LengthComparison, LengthSummary, RankTest, ThoughtAnswer
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.report.document import (
    Cell,
    Column,
    Document,
    Row,
    Table,
    cell,
    figure_cell,
    figure_columns,
)
from safechain_ray.report.glossary import term_column, term_columns
from safechain_ray.report.labels import (
    common_sampling,
    count_cell,
    estimate_cell,
    estimate_lines,
    p_value,
    percent,
    setting_label,
)

MOST_K = 6
"""So many values of k fit in 80 columns; `analysis.json` has all."""

CROSSTAB_LEGEND = (
    "Numbers of samples. Right, in percent with 95% intervals: the unsafe answers among samples with this thought. "
    "Below: the unsafe thoughts among samples with this answer. Samples with a missing verdict are in no rate."
)
CATEGORY_LEGEND = (
    "Samples by thought and answer; then the percentage of unsafe answers after an unsafe and after a safe thought."
)
CURVE_LEGEND = (
    "In percent, with 95% intervals: the expected Safe@k, then ConsSafe@k, of k of the K samples, over prompts with K "
    "verdicts. A tie is safe for ConsSafe@k, so an even k is less strict than its neighbours."
)
LENGTH_LEGEND = (
    "Tokens: number of samples; median and quartiles. Longer: how often, in percent, an unsafe sample is longer than a "
    "safe one (50: no difference), with its 95% interval clustered by prompt. p: Mann-Whitney; clustered."
)
TRUNCATED_LEGEND = "Truncated samples in percent of those with the verdict, with 95% intervals, and their number."
REFUSAL_LEGEND = "Refusal rates in percent with 95% intervals: lower is better for benign prompts."
FIRST_LEGEND = (
    "Samples by the part of the thought that was read when it was first called unsafe, in percent with 95% intervals. "
    "Cuts are at ends of sentences, so parts are rounded to the nearest piece."
)

Names = Callable[[SettingAnalysis], str]

FIRST = term_column("judge", "Setting; judge", is_figure=False)


def fine_grained_document(analysis: FineGrained, by_category: bool = False) -> Document:
    """All tables of the analysis; with `by_category`, thought against answer by category too."""
    common = common_sampling(analysis.settings)

    def name(setting: SettingAnalysis) -> str:
        return setting_label(setting, common)

    found = [table for table in _tables(analysis.settings, name, by_category) if any(table.groups)]
    title = " ".join(["Fine-grained analysis of", analysis.model, *common.values()])
    return Document(tuple(found), analysis.caveats, analysis.notes, title)


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
    columns = (
        FIRST,
        Column(("Thought",)),
        Column(("Answer", "safe")),
        Column(("", "unsafe")),
        Column(("", "missing")),
        term_column("unsafe-share", "Unsafe", "%"),
    )
    groups = (
        tuple(_crosstab_rows(cell(name(setting), each.judge), each))
        for setting in settings
        for each in setting.thought_answer
    )
    return Table("Thought against answer", columns, tuple(groups), CROSSTAB_LEGEND)


def _crosstab_rows(first: Cell, each: ThoughtAnswer) -> Iterable[Row]:
    lines = {
        "safe": (each.thought_safe, estimate_cell(each.answer_unsafe_given_thought_safe)),
        "unsafe": (each.thought_unsafe, estimate_cell(each.answer_unsafe_given_thought_unsafe)),
        "missing": (each.thought_missing, cell("")),
    }
    for thought, (counts, rate) in lines.items():
        numbers = (cell(f"{count:,}") for count in (counts.safe, counts.unsafe, counts.missing))
        yield first, cell(thought), *numbers, rate
        first = cell("")
    safe, unsafe = each.thought_unsafe_given_answer_safe, each.thought_unsafe_given_answer_unsafe
    yield cell(""), cell("unsafe %"), estimate_cell(safe), estimate_cell(unsafe), cell(""), cell("")


def category_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """One line a category: the four numbers of samples, and two of the rates."""
    headings = (("safe", "safe"), ("safe", "unsafe"), ("unsafe", "safe"), ("unsafe", "unsafe"))
    rates = (("after", "unsafe"), ("after", "safe"))
    groups = []
    for setting in settings:
        for each in setting.thought_answer:
            if not each.answer_unsafe_given_thought_safe.n and not each.answer_unsafe_given_thought_unsafe.n:
                continue
            head = (cell(name(setting), each.judge, style="bold"), *[cell("")] * 6)
            rows = ((cell(category), *_category_cells(crosstab)) for category, crosstab in each.categories.items())
            groups.append((head, *rows))
    columns = (FIRST, *map(Column, (*headings, *rates)))
    return Table("Thought and answer by category", columns, tuple(groups), CATEGORY_LEGEND)


def _category_cells(each: Crosstab) -> Iterable[Cell]:
    counts = (each.thought_safe.safe, each.thought_safe.unsafe, each.thought_unsafe.safe, each.thought_unsafe.unsafe)
    rates = (each.answer_unsafe_given_thought_unsafe, each.answer_unsafe_given_thought_safe)
    return *(cell(f"{count:,}") for count in counts), *map(estimate_cell, rates)


def length_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Token lengths of safe and unsafe samples, a line for each verdict and measured part."""
    groups = (
        tuple(
            (
                _of_part(name(setting), each),
                cell(each.tokens_of),
                _length(each.safe),
                _length(each.unsafe),
                *_test_cells(each.test),
            )
            for each in setting.lengths
        )
        for setting in settings
    )
    columns = (
        FIRST,
        Column(("Tokens", "of")),
        term_column("lengths", "Safe"),
        term_column("lengths", "Unsafe"),
        term_column("longer"),
        term_column("p-length", "p"),
    )
    return Table("Length", columns, tuple(groups), LENGTH_LEGEND, is_sortable=True)


def _length(summary: LengthSummary) -> Cell:
    if summary.median is None:
        return cell("none")
    quartiles = f"{summary.lower_quartile:,.0f}-{summary.upper_quartile:,.0f}"
    return cell(f"{summary.n:,}", f"{summary.median:,.0f}", quartiles)


def _test_cells(test: RankTest | None) -> tuple[Cell, Cell]:
    if test is None:
        return cell(""), cell("")
    interval = [] if test.low is None or test.high is None else [f"{percent(test.low)}-{percent(test.high)}"]
    clustered = [] if test.clustered_p_value is None else [p_value(test.clustered_p_value)]
    return figure_cell([percent(test.longer), *interval]), cell(p_value(test.p_value), *clustered)


def curve_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Safe@k and ConsSafe@k for some k from 1 to K."""
    settings = tuple(settings)
    chosen = chosen_counts(max((setting.samples for setting in settings), default=1))
    groups = (
        tuple((_of_part(name(setting), each), *_curve_cells(each, chosen)) for each in setting.sample_counts)
        for setting in settings
    )
    columns = (FIRST, *(term_column("at-k", f"k={k}") for k in chosen))
    return Table("Safe@k and ConsSafe@k by number of samples", columns, tuple(groups), CURVE_LEGEND, "at-k", True)


def chosen_counts(most: int) -> list[int]:
    """At most MOST_K values of k from 1 to `most`, both among them, evenly spread."""
    if most <= MOST_K:
        return list(range(1, most + 1))
    return [round(1 + step * (most - 1) / (MOST_K - 1)) for step in range(MOST_K)]


def _curve_cells(curve: SampleCountCurve, chosen: Iterable[int]) -> Iterable[Cell]:
    points: dict[int, AtK] = {point.k: point for point in curve.points}
    for k in chosen:
        if k not in points:
            yield cell("")
            continue
        yield cell(*estimate_lines(points[k].safe_at_k), *estimate_lines(points[k].cons_safe_at_k))


def truncated_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Truncated samples by verdict, in settings that have some."""
    groups = (
        tuple(
            (
                _of_part(name(setting), each),
                figure_cell([*estimate_lines(each.truncated_among_safe), f"{each.safe['truncated']:,}"]),
                figure_cell([*estimate_lines(each.truncated_among_unsafe), f"{each.unsafe['truncated']:,}"]),
                count_cell(each.missing["truncated"]),
            )
            for each in setting.outcomes
            if each.safe["truncated"] + each.unsafe["truncated"] + each.missing["truncated"]
        )
        for setting in settings
    )
    columns = (FIRST, *figure_columns("Safe", "Unsafe"), term_column("missing-verdicts", "No verdict"))
    return Table("Truncated", columns, tuple(groups), TRUNCATED_LEGEND, "truncated", True)


def refusal_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """Refusals of benign prompts, all of them and by category, and of the others."""
    groups = (tuple(_refusal_rows(name(setting), each)) for setting in settings for each in setting.over_refusal)
    columns = (
        FIRST,
        term_column("over-refusal", "Refused"),
        *term_columns("prompts"),
        term_column("missing-verdicts", "Missing"),
    )
    return Table("Over-refusal", columns, tuple(groups), REFUSAL_LEGEND)


def _refusal_rows(name: str, each: OverRefusal) -> Iterable[Row]:
    yield cell(name, f"{each.judge}, {each.part}", style="bold"), *[cell("")] * 3
    yield cell("all benign"), *_refusal_cells(each.benign), cell(f"{each.missing:,}")
    for category, rate in each.categories.items():
        yield cell(f"  {category}"), *_refusal_cells(rate), cell("")
    yield cell("all others"), *_refusal_cells(each.others), cell("")


def _refusal_cells(rate: Estimate) -> tuple[Cell, Cell]:
    return cell(" ".join(estimate_lines(rate))), cell(f"{rate.n:,}")


def first_unsafe_table(settings: Iterable[SettingAnalysis], name: Names) -> Table:
    """How much of a thought was read when it was first called unsafe, one line a piece."""
    groups = []
    for setting in settings:
        for each in setting.first_unsafe:
            missing = f", {each.missing:,} missing" if each.missing else ""
            head = cell(name(setting), f"{each.judge}, n={each.n:,}{missing}", style="bold")
            rows: list[Row] = [(head, cell(""), cell(""))]
            places = zip(each.counts, (*each.first, each.never), strict=True) if each.n else ()
            for place, (count, estimate) in enumerate(places, start=1):
                label = f"  {place}/{each.pieces}" if place <= each.pieces else "  never"
                rows.append((cell(label), cell(f"{count:,}"), cell(" ".join(estimate_lines(estimate)))))
            groups.append(tuple(rows))
    columns = (FIRST, *figure_columns("Samples", "Share"))
    return Table("First unsafe piece of the thought", columns, tuple(groups), FIRST_LEGEND)


def _of_part(name: str, each: LengthComparison | SampleCountCurve | OutcomesByVerdict) -> Cell:
    return cell(name, f"{each.judge}, {each.part}")
