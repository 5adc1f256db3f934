"""What differs between models as a page: what to know first, the models side by side, plots, tables of differences."""

from collections.abc import Iterator

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.compare_models import ComparedModels
from safechain_ray.metrics.benchmark_comparison import BenchmarkComparison
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.compared_models import differences, side_by_side
from safechain_ray.report.document import Document
from safechain_ray.report.escape import printable
from safechain_ray.report.html.difference_plot import Differing, difference_plot
from safechain_ray.report.html.document_table import html_table
from safechain_ray.report.html.figure import figure
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.html.page import Section, assemble
from safechain_ray.report.html.plot import Plot
from safechain_ray.report.labels import METRIC_LABELS, common_sampling, setting_label

SAFETY, BENCHMARKS = 0, 1
"""The series of plots: a colour and a mark for each kind of figure."""


def comparison_page(compared: ComparedModels, stand_ins: StandIns | None) -> str:
    """The baseline is the first model; published figures stand beside where `stand_ins` asks for them."""
    document = differences(compared)
    models = side_by_side(compared, published_figures(), stand_ins)
    parts = [
        Section("first", "To know first", _know_first(document)),
        *([] if models is None else [Section("models", "Models", html_table(models))]),
        Section("plots", "What differs", join([figure(plot) for plot in _plots(compared)])),
        Section("differences", "Differences", join([html_table(table) for table in document.tables])),
    ]
    baseline, *others = map(printable, compared.names)
    return assemble(f"{', '.join(others)} against {baseline}", _line(compared), parts)


def _know_first(document: Document) -> Markup:
    return join(
        [element("p", caveat, class_="caveat") for caveat in document.caveats],
        element("ul", [element("li", printable(note)) for note in document.notes], class_="legend")
        if document.notes
        else element("p", "Everything that one model was asked the other was asked too.", class_="legend"),
    )


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
    found = [] if compared.safety is None else list(_of_safety(compared.safety))
    found += [] if compared.benchmarks is None else list(_of_benchmarks(compared.benchmarks))
    for number, model in enumerate(compared.names[1:]):
        lines = [line for name, line in found if name == model]
        if lines:
            title = f"{printable(model)} against {printable(compared.names[0])}"
            yield difference_plot(f"differences-{number}", title, lines)


def _of_safety(comparison: Comparison) -> Iterator[tuple[str, Differing]]:
    common = common_sampling([setting for pair in comparison.pairs for setting in (pair.first, pair.second)])
    for pair in comparison.pairs:
        for judge in pair.judges:
            group = f"{setting_label(pair.second, common)}; {printable(judge.judge)}, {judge.part}"
            for each in judge.differences:
                yield pair.run, Differing(group, METRIC_LABELS[each.metric], SAFETY, each)


def _of_benchmarks(comparison: BenchmarkComparison) -> Iterator[tuple[str, Differing]]:
    for each in comparison.differences:
        yield each.run, Differing(printable(each.benchmark), f"pass@{each.k}", BENCHMARKS, each)
