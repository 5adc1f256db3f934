"""The published figures that belong beside a benchmark run's, with what is different about ours."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from safechain_ray import catalog
from safechain_ray.catalog.benchmark_entries import DEFAULT_STYLE
from safechain_ray.catalog.published import Finetuning
from safechain_ray.errors import UnknownNameError
from safechain_ray.metrics.benchmark import BenchmarkFigures, BenchmarkRunMetrics


class PublishedPass(BaseModel):
    """What was published of one benchmark: pass@1 as a share of 1, of `model` by its published name.

    `differs` says in what our run is not the published one. `difference` is ours minus the published figure,
    `within_interval` whether that lies in the 95% interval of ours; both are None where ours is not defined.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    model: str
    share: float
    differs: tuple[str, ...]
    difference: float | None
    within_interval: bool | None


def published_passes(
    metrics: BenchmarkRunMetrics, finetuning: Finetuning, stand_in: str | None = None
) -> tuple[PublishedPass, ...]:
    """The published figure of each benchmark that has one; none of a model of which nothing was published.

    `stand_in` is the published model to stand beside ours, where it is not the same. Raises UnknownNameError for one
    that there is not.
    """
    rows = finetuning.rows()
    wanted = stand_in or metrics.model
    name = next((name for name in rows if name.casefold() == wanted.casefold()), None)
    if name is None:
        if stand_in is not None:
            raise UnknownNameError("published model", stand_in, rows)
        return ()
    other = [] if metrics.model.casefold() == name.casefold() else [f"model {metrics.model}, not {name}"]
    return tuple(
        _beside(
            figures, name, rows[name][figures.dataset], other, finetuning.styles.get(figures.dataset, DEFAULT_STYLE)
        )
        for figures in metrics.benchmarks
        if figures.dataset in rows[name]
    )


def _beside(figures: BenchmarkFigures, model: str, share: float, other: list[str], style: str) -> PublishedPass:
    ours = figures.grades.pass_at.get(1)
    difference = within = None
    if ours is not None and ours.value is not None and ours.low is not None and ours.high is not None:
        difference, within = ours.value - share, ours.low <= share <= ours.high
    return PublishedPass(
        benchmark=figures.dataset,
        model=model,
        share=share,
        differs=(*other, *_differs(figures, style)),
        difference=difference,
        within_interval=within,
    )


def _differs(figures: BenchmarkFigures, style: str) -> Iterator[str]:
    """In what the run of one benchmark is not as published, as far as that is known; `style` is the published one."""
    entry = catalog.benchmarks()[figures.dataset].in_style(style)
    problems, whole = figures.grades.problems, figures.problems_published
    if whole is not None and problems != whole:
        yield f"{problems:,} of {whole:,} problems"
    if figures.style != entry.style:
        means = f" ({entry.style_description})" if entry.style_description else ""
        yield f"style {figures.style}, not {entry.style}{means}"
    usual = catalog.benchmarks()[figures.dataset].in_style(figures.style).strategy
    if figures.strategy != usual:
        yield f"strategy {figures.strategy}, not {usual}"
    if not figures.greedy:
        yield f"sampled at temperature {figures.sampling['temperature']:g}, not greedy"
    published = {"max_tokens": entry.max_tokens, "repetition_penalty": entry.repetition_penalty}
    for key, value in published.items():
        if figures.sampling[key] != value:
            yield f"{key} {figures.sampling[key]:g}, not {value:g}"
