"""The pages of one run folder: a safety run with its samples, or a benchmark run, with the facts of run.json.

Facts: model, data, judges, tokens, cost, attempts, versions, config.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from safechain_ray.analysis.fine_grained import FineGrained
from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import NO_STAND_INS, StandIns, beside, published_passes
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.benchmark_tables import benchmark_document
from safechain_ray.report.benchmark_tables import published_notes as published_benchmark_notes
from safechain_ray.report.benchmark_tables import published_table as published_benchmark_table
from safechain_ray.report.comparison import comparison_document
from safechain_ray.report.document import printable
from safechain_ray.report.html.analysis import fine_grained_section
from safechain_ray.report.html.definitions import with_glossary
from safechain_ray.report.html.elements import (
    Markup,
    Section,
    assemble,
    caveats_and_notes,
    element,
    html_caveats,
    html_notes,
    html_table,
    join,
    read_asset,
    term_link,
)
from safechain_ray.report.html.figure import figure
from safechain_ray.report.html.samples import PackedSamples
from safechain_ray.report.labels import common_sampling
from safechain_ray.report.plots.comparison import difference_plot, safety_lines
from safechain_ray.report.plots.run import run_plots
from safechain_ray.report.published import published_notes, published_table
from safechain_ray.report.tables import is_judged, notes, outcomes_table, safety_table, user_metrics_tables
from safechain_ray.runs.run_file import ModelIdentity, RunFile, StoredAttempt
from safechain_ray.types import Outcome

COLUMNS = ("Attempt", "Started", "Ended", "Minutes", "Status", "Rows found", "Hardware", "Pools")


def run_facts(run: RunFile) -> Markup:
    """The facts of a run. Its run.json has no secrets: they are redacted before it is written."""
    attempts = run.attempts
    return join(
        element("dl", [_fact(name, value) for name, value in _facts(run).items() if value]),
        _attempts(attempts) if attempts else None,
        _versions(attempts[-1].versions) if attempts else None,
        _details("Config", json.dumps(run.config, indent=2)),
        _details("Identity: what changes the results", json.dumps(run.identity.tree, indent=2)),
    )


def _facts(run: RunFile) -> dict[str, str]:
    datasets = (
        f"{name}: {dataset.prompts:,} prompts from {dataset.source or 'an unknown source'}"
        for name, dataset in run.datasets.items()
    )
    tokens = (f"{count:,} {part}" for part, count in run.tokens.items())
    revision = f", revision {run.git_revision}" if run.git_revision else ""
    return {
        "Model": "" if run.identity.model is None else _model(run.identity.model),
        "Data": "; ".join(datasets),
        "Judges": "; ".join(_judges(run)),
        "Samples": "" if run.rows is None else f"{run.rows:,}",
        "Tokens": ", ".join(tokens),
        "Cost": "" if run.cost_dollars is None else f"${run.cost_dollars:,.2f} paid to providers",
        "Finished": _time(run.finished) or "not yet",
        "Made by": f"safechain_ray {run.safechain_ray}{revision}",
    }


def _model(model: ModelIdentity) -> str:
    """Name, origin and dtype. The origin is the source of the weights, or the model of an API and its address."""
    origin = model.source or " at ".join(filter(None, (model.api_model, model.base_url)))
    revision = f" at {model.revision[:12]}" if model.revision else ""
    return " ".join(filter(None, (model.name, f"({origin}{revision})", model.dtype)))


def _judges(run: RunFile) -> Iterator[str]:
    for judge in run.identity.judges or ():
        yield f"{judge.name} ({judge.kind or 'unknown'})"
    for vote in run.identity.votes:
        yield f"{vote.name} ({vote.rule} of {', '.join(vote.judges)})"
    for name, added in run.added.items():
        yield f"{name} (added later, {', '.join(added.parts)})"


def _fact(name: str, value: str) -> Markup:
    return element("div", element("dt", name), element("dd", value))


def _attempts(attempts: Sequence[StoredAttempt]) -> Markup:
    head = element("tr", [element("th", name, scope="col") for name in COLUMNS])
    rows = [
        element("tr", element("th", number, scope="row"), [element("td", cell) for cell in _cells(attempt)])
        for number, attempt in enumerate(attempts, 1)
    ]
    table = element("table", element("caption", "Attempts"), element("thead", head), element("tbody", rows))
    return element("div", table, class_="table small", tabindex=0, role="region", aria_label="Attempts")


def _cells(attempt: StoredAttempt) -> Iterator[str | list[Markup]]:
    yield _time(attempt.started)
    yield _time(attempt.ended)
    yield f"{(attempt.ended - attempt.started).total_seconds() / 60:.1f}" if attempt.ended else ""
    yield f"{attempt.command}: {attempt.status}" if attempt.command else attempt.status
    yield f"{attempt.rows_found:,}"
    yield [
        element("div", f"{node.node}: {node.cpus:g} logical CPUs, {node.gpus:g} GPUs, {node.memory_gigabytes:g} GB")
        for node in attempt.hardware
    ]
    yield [
        element("div", f"{pool}: {', '.join(f'{count:,} {_counter(name)}' for name, count in counts.items())}")
        for pool, counts in attempt.pools.items()
    ]


def _counter(name: str) -> str:
    """The counter of a worker in words."""
    return {"rows_in": "rows received", "rows_out": "rows completed"}.get(name, name.replace("_", " "))


def _versions(versions: Mapping[str, str]) -> Markup:
    found = [element("div", element("dt", name), element("dd", version)) for name, version in versions.items()]
    return join(element("h3", "Versions of the latest attempt"), element("dl", found, class_="versions"))


def _details(title: str, text: str) -> Markup:
    return element("details", element("summary", title), element("pre", text, tabindex=0))


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


BAD_OUTCOMES: dict[Outcome, str] = {
    "error": "ended with an error",
    "blocked": "were blocked by the provider",
    "truncated": "were cut off before their end",
}

OPEN_NOTES = 6
"""The list of notes starts folded from so many on."""


def run_page(
    metrics: RunMetrics,
    run: RunFile,
    samples: PackedSamples,
    analysis: FineGrained | None = None,
    stand_ins: StandIns = NO_STAND_INS,
    strategies: Comparison | None = None,
) -> str:
    """The whole report of one run. `run` is the content of its run.json, `analysis` that of its analysis.json.

    `strategies` are the differences between the strategies of the run. Published figures are shown beside the run's
    where there are some, of its own model or of those in `stand_ins`.
    """
    published = published_section(metrics, stand_ins)
    safety = [safety_table(metrics)] if is_judged(metrics) else []
    tables = (*safety, outcomes_table(metrics, with_tokens=True), *user_metrics_tables(metrics))
    sections = [
        Section("first", "Warnings and notes", know_first(metrics)),
        Section("figures", "Figures", join(map(html_table, tables))),
        *([] if published is None else [Section("published", "Beside the paper", published)]),
        *([Section("plots", "Plots", join(map(figure, run_plots(metrics))))] if is_judged(metrics) else []),
        *([] if strategies is None else [Section("strategies", "Strategies compared", _strategies(strategies))]),
        *([] if analysis is None else [Section("analysis", "Fine-grained", fine_grained_section(analysis, metrics))]),
        Section("run", "The run", run_facts(run)),
        Section("samples", "Samples", _browser(samples)),
    ]
    title = f"Safety of {printable(metrics.model)}"
    return assemble(title, _run_line(metrics, run), with_glossary(sections), samples)


def benchmark_page(metrics: BenchmarkRunMetrics, run: RunFile, stand_in: str | None = None) -> str:
    """`run` is the content of run.json; published figures are of the run's own model, or of `stand_in`."""
    document = benchmark_document(metrics)
    figures = published_figures()
    found = published_passes(metrics, figures.finetuning, stand_in)
    published = (
        join(
            html_table(published_benchmark_table(metrics, found, figures)), html_notes(published_benchmark_notes(found))
        )
        if found
        else None
    )
    complete = "Every problem was asked, and no grade is missing."
    sections = [
        Section("first", "Warnings and notes", caveats_and_notes(document, complete)),
        Section("figures", "Figures", join(map(html_table, document.tables))),
        *([] if published is None else [Section("published", "Beside the paper", published)]),
        Section("run", "The run", run_facts(run)),
    ]
    rows = sum(figures.rows for figures in metrics.benchmarks)
    line = f"{rows:,} samples · {len(metrics.benchmarks)} benchmark{'s' if len(metrics.benchmarks) > 1 else ''}"
    return assemble(f"Benchmarks of {printable(metrics.model)}", line, with_glossary(sections))


def published_section(metrics: RunMetrics, stand_ins: StandIns) -> Markup | None:
    """The published figures beside ours; None where nothing was published of the run's model and settings."""
    figures = published_figures()
    found = beside(metrics, figures, stand_ins)
    if not found:
        return None
    table = published_table(metrics, found, figures)
    return join(html_table(table), html_notes(published_notes(metrics, found, figures, stand_ins)))


def _strategies(comparison: Comparison) -> Markup:
    """What each strategy changes, prompt by prompt: a plot, then the table with its tests."""
    lines = [line for _, line in safety_lines(comparison)]
    document = comparison_document(comparison)
    title = f"Strategies against {printable(comparison.baseline)}"
    return join(
        figure(difference_plot("strategy-differences", title, lines)) if lines else None,
        *map(html_table, document.tables),
        html_notes(document.notes),
    )


def know_first(metrics: RunMetrics) -> Markup:
    """Caveats, then counts of bad outcomes and missing verdicts, then the notes on single settings."""
    rows = sum(setting.rows for setting in metrics.settings)
    verdicts = sum(
        (judge.prompts + setting.benign_prompts) * setting.samples
        for setting in metrics.settings
        for judge in setting.judges
    )
    missing = sum(judge.all_missing for setting in metrics.settings for judge in setting.judges)
    tiles = [
        _tile(sum(setting.outcomes[outcome] for setting in metrics.settings), rows, "samples", words, outcome)
        for outcome, words in BAD_OUTCOMES.items()
    ]
    return join(
        html_caveats(metrics.caveats),
        element("ul", tiles, _tile(missing, verdicts, "verdicts", "are missing", "missing"), class_="tiles"),
        _notes(notes(metrics)),
    )


def _notes(found: list[str]) -> Markup:
    if not found:
        return element("p", "Every row is there, and no figure rests on few prompts.", class_="legend")
    summary = element("summary", f"{len(found):,} notes to read with care")
    return element(
        "details", summary, element("ul", [element("li", note) for note in found]), open=len(found) < OPEN_NOTES
    )


def _tile(count: int, of: int, noun: str, words: str, key: Outcome | Literal["missing"]) -> Markup:
    term = "missing-verdicts" if key == "missing" else key
    return element(
        "li",
        element("strong", f"{count:,}"),
        element("span", f"of {of:,} {noun} ", term_link(term, words)),
        class_="tile warn" if count else "tile",
        data_count=key,
    )


def _run_line(metrics: RunMetrics, run: RunFile) -> str:
    counts = (
        (sum(setting.rows for setting in metrics.settings), "samples"),
        (len(metrics.settings), "settings"),
        (len({judge.name for judge in run.identity.judges or ()} | set(run.added)), "judges"),
    )
    ended = f"ended {run.finished:%Y-%m-%d}" if run.finished else "not ended"
    sampling = " ".join(common_sampling(metrics.settings).values())
    counted = [f"{count:,} {words if count != 1 else words[:-1]}" for count, words in counts]
    return " · ".join([*counted, *filter(None, [sampling]), ended])


def _browser(samples: PackedSamples) -> Markup:
    words = f"{samples.rows:,} samples."
    if samples.with_text < samples.rows:
        words += (
            f" The texts of {samples.with_text:,} of them, drawn at random, are in this file; the run's folder holds "
            "all. Search finds only samples with text."
        )
    warning = "Responses to harmful prompts can be harmful, so texts are blurred until you ask for them."
    return join(element("p", f"{words} {warning}", class_="legend"), Markup(read_asset("browser.html")))
