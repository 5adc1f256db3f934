"""The page that compares models: plots and tables of their differences from a baseline."""

from collections.abc import Iterator

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.compare_models import ComparedModels
from safechain_ray.metrics.benchmark import BenchmarkComparison
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.compared_models import differences, side_by_side
from safechain_ray.report.document import printable
from safechain_ray.report.html.definitions import with_glossary
from safechain_ray.report.html.elements import (
    Section,
    assemble,
    caveats_and_notes,
    html_table,
    join,
)
from safechain_ray.report.html.figure import figure
from safechain_ray.report.plots.comparison import BENCHMARKS, DifferenceLine, difference_plot, safety_lines
from safechain_ray.report.plots.svg import Plot

COMPLETE = "All models were asked the same."


def comparison_page(compared: ComparedModels, stand_ins: StandIns | None) -> str:
    """The baseline is the first model; with `stand_ins`, published figures are shown beside."""
    document = differences(compared)
    models = side_by_side(compared, published_figures(), stand_ins)
    sections = [
        Section("first", "Warnings and notes", caveats_and_notes(document, COMPLETE)),
        *([] if models is None else [Section("models", "Models", html_table(models))]),
        Section("plots", "What differs", join(map(figure, _plots(compared)))),
        Section("differences", "Differences", join(map(html_table, document.tables))),
    ]
    baseline, *others = map(printable, compared.names)
    return assemble(f"{', '.join(others)} against {baseline}", _line(compared), with_glossary(sections))


def _line(compared: ComparedModels) -> str:
    counts = [f"{len(compared.names)} models"]
    if compared.safety is not None:
        settings = {pair.second.setting_id for pair in compared.safety.pairs}
        counts.append(f"{len(settings)} setting{'s' if len(settings) > 1 else ''}")
    if compared.benchmarks is not None:
        benchmarks = {each.benchmark for each in compared.benchmarks.differences}
        counts.append(f"{len(benchmarks)} benchmark{'s' if len(benchmarks) > 1 else ''}")
    return " · ".join(counts)


def _plots(compared: ComparedModels) -> Iterator[Plot]:
    """One for each model beside the baseline."""
    found = [] if compared.safety is None else list(safety_lines(compared.safety))
    found += [] if compared.benchmarks is None else list(_of_benchmarks(compared.benchmarks))
    for number, model in enumerate(compared.names[1:]):
        lines = [line for name, line in found if name == model]
        if lines:
            title = f"{printable(model)} against {printable(compared.names[0])}"
            yield difference_plot(f"differences-{number}", title, lines)


def _of_benchmarks(comparison: BenchmarkComparison) -> Iterator[tuple[str, DifferenceLine]]:
    for each in comparison.differences:
        yield each.run, DifferenceLine(printable(each.benchmark), f"pass@{each.k}", BENCHMARKS, each)
