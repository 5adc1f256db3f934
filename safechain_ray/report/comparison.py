"""The document of a comparison of runs, and that of benchmark runs: a table for each run against the baseline."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from safechain_ray.metrics.benchmark import BenchmarkComparison, PassDifference
from safechain_ray.metrics.comparison import ComparedSettings, Comparison, Difference, OverRefusalDifference
from safechain_ray.metrics.paired import PairedMeans
from safechain_ray.metrics.published import Counterpart
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
from safechain_ray.report.labels import (
    METRIC_LABELS,
    NO_FIGURE,
    OVER_REFUSAL,
    common_sampling,
    p_value,
    percent,
    points,
    rows_cell,
    setting_label,
)
from safechain_ray.report.published import difference_notes
from safechain_ray.report.tables import FEW_PROMPTS

LEGEND = (
    "In percent, over the n prompts with verdicts on both sides: the figure of the baseline, then of the other; the "
    "paired difference in points with its 95% interval, which is not widened for the number of comparisons."
)

REFUSALS = "Safety is compared over harmful prompts, over-refusal over benign ones: there less is better."
BENIGN = "benign prompts"
TESTED = (
    "p: McNemar's exact test, where K = 1, then with Holm's correction over this comparison's tests, {tests} in all."
)

PUBLISHED = "Published: the difference of the paper's figures; * where a setting is not the paper's."
BENCHMARKS_LEGEND = (
    "In percent, over the n problems with grades on both sides: the figure of the baseline, then of the other; the "
    "paired difference in points with its 95% interval, which is not widened for the number of comparisons."
)


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
            *(f"Left out, as the other run has none like it: {each}." for each in comparison.left_out),
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
            text_column("Setting; judge, part"),
            text_column("Figure"),
            Column(("Baseline", "other")),
            *figure_columns("Difference", "n"),
            *([Column(("p", "Holm"))] if tested else ()),
            *(figure_columns("Published") if published else ()),
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
                cell(METRIC_LABELS[each.metric]),
                *_difference_cells(each, tested),
                *([cell("-" if each.published is None else points(each.published) + star)] if published else ()),
            )
            name = cell("")
    if pair.over_refusal is not None:
        yield (
            cell(setting_label(pair.second, common), BENIGN),
            cell(OVER_REFUSAL),
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
        yield "Nothing was published of both sides of any pair: see --paper MODEL and --paper-dataset."


def _pair_notes(comparison: Comparison, pair: ComparedSettings) -> Iterator[str]:
    first, second = setting_label(pair.first), setting_label(pair.second)
    if comparison.between == "runs" and first != second:
        yield f"{second} of {pair.run} is compared with {first} of {comparison.baseline}: the nearest there is."
    both, here, there = pair.prompts
    if not pair.same_data or both < max(here, there):
        yield f"{second} of {pair.run}: compared over the {both:,} prompts that are in both, of {here:,} and {there:,}."
    few = min((each.n for each in pair.differences), default=0)
    if few < FEW_PROMPTS:
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
            Column(("Baseline", "other")),
            *figure_columns("Difference", "n"),
            *([Column(("p", "Holm"))] if tested else ()),
        ),
        groups=(
            tuple(
                (cell(each.benchmark), cell(f"pass@{each.k}"), *_difference_cells(each, tested)) for each in differences
            ),
        ),
        caption=" ".join([BENCHMARKS_LEGEND, *([TESTED.format(tests=comparison.tests)] if tested else ())]),
    )
