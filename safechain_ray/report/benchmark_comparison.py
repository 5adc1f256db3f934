"""Benchmarks of several runs held against each other, as a table."""

from collections.abc import Sequence
from itertools import groupby

from safechain_ray.metrics.benchmark_comparison import BenchmarkComparison, PassDifference
from safechain_ray.report.comparison import TESTED, difference_cell, p_values_cell, side_cell
from safechain_ray.report.document import Column, Document, Row, Table, cell, figure_columns, text_column
from safechain_ray.report.notes import FEW_PROMPTS

LEGEND = (
    "In percent, over the n problems with grades on both sides: the figure of the baseline, then of the other; the "
    "paired difference in points with its 95% interval, which is not widened for the number of comparisons."
)


def benchmark_comparison_document(comparison: BenchmarkComparison) -> Document:
    """A table for each run beside the baseline."""
    runs = groupby(comparison.differences, lambda each: each.run)
    few = [each for each in comparison.differences if each.n < FEW_PROMPTS]
    return Document(
        tuple(_table(comparison, run, tuple(differences)) for run, differences in runs),
        comparison.caveats,
        (
            *(f"{each.benchmark}, pass@{each.k}: {each.run} differs over only {each.n} problems." for each in few),
            *(f"Left out, as the other run has none like it: {each}." for each in comparison.left_out),
        ),
    )


def _table(comparison: BenchmarkComparison, run: str, differences: Sequence[PassDifference]) -> Table:
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
        groups=(tuple(_row(each, tested) for each in differences),),
        caption=" ".join([LEGEND, *([TESTED.format(tests=comparison.tests)] if tested else ())]),
    )


def _row(each: PassDifference, tested: bool) -> Row:
    return (
        cell(each.benchmark),
        cell(f"pass@{each.k}"),
        side_cell(each),
        difference_cell(each),
        cell(f"{each.n:,}", *([f"of {each.n + each.left_out:,}"] if each.left_out else ())),
        *([p_values_cell(each.p_value, each.p_adjusted)] if tested else ()),
    )
