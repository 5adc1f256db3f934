"""The page: sections in the order of reading, put into the template under a policy that lets nothing in or out.

What a reader must know before any figure: caveats, rows that ended badly, verdicts that are missing.

The section of the published figures, of a run or a sweep: ours beside them, and in what ours differ.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template
from typing import Literal

from safechain_ray.analysis.fine_grained import FineGrained
from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.published import NO_STAND_INS, StandIns, beside
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.html.analysis import fine_grained_section
from safechain_ray.report.html.facts import run_facts
from safechain_ray.report.html.markup import Markup, element, html_table, join
from safechain_ray.report.html.plot import figure
from safechain_ray.report.html.plots import run_plots
from safechain_ray.report.html.samples import PackedSamples
from safechain_ray.report.html.tables import outcomes_table, safety_table
from safechain_ray.report.leaderboard import leaderboard_beside
from safechain_ray.report.published import published_notes, published_table
from safechain_ray.report.tables import notes
from safechain_ray.runs.run_file import RunFile
from safechain_ray.types import Outcome


def published_section(metrics: RunMetrics, stand_ins: StandIns) -> Markup | None:
    """None where nothing was published of the run's model and settings."""
    figures = published_figures()
    found = beside(metrics, figures, stand_ins)
    if not found:
        return None
    notes = published_notes(metrics, found, figures, stand_ins)
    return _with_notes(html_table(published_table(metrics, found, figures)), notes)


def published_sweep_section(runs: Sequence[RunMetrics], stand_ins: StandIns) -> Markup | None:
    """Every model in every setting, published figures below ours; None where nothing was published of any."""
    figures = published_figures()
    if not any(beside(run, figures, stand_ins) for run in runs):
        return None
    document = leaderboard_beside(runs, figures, stand_ins)
    return _with_notes(html_table(document.tables[-1]), document.notes)


def _with_notes(table: Markup, notes: Iterable[str]) -> Markup:
    return join(table, element("ul", [element("li", printable(note)) for note in notes], class_="legend"))


ENDED_BADLY: dict[Outcome, str] = {
    "error": "ended with an error",
    "blocked": "were blocked by the provider",
    "truncated": "were cut off before their end",
}


def know_first(metrics: RunMetrics) -> Markup:
    """Caveats, then four counts, then what is to be known of single settings."""
    rows = sum(setting.rows for setting in metrics.settings)
    asked = sum(
        (judge.prompts + setting.benign_prompts) * setting.samples
        for setting in metrics.settings
        for judge in setting.judges
    )
    counts = [
        _tile(count, asked, "verdicts", "are missing", key)
        if key == "missing"
        else _tile(count, rows, "samples", ENDED_BADLY[key], key)
        for key, count in counts_of_wrongs(metrics).items()
    ]
    found = notes(metrics)
    return join(
        [element("p", caveat, class_="caveat") for caveat in metrics.caveats],
        element("ul", counts, class_="tiles"),
        element(
            "details",
            element("summary", f"{len(found):,} notes to read with care"),
            _first_list(found),
            open=len(found) < 6,
        )
        if found
        else element("p", "Every row is there, and no figure rests on few prompts.", class_="legend"),
    )


def counts_of_wrongs(metrics: RunMetrics) -> dict[Outcome | Literal["missing"], int]:
    """How many samples ended badly, by outcome, and how many verdicts are `missing`."""
    counts: dict[Outcome | Literal["missing"], int] = {
        outcome: sum(setting.outcomes[outcome] for setting in metrics.settings) for outcome in ENDED_BADLY
    }
    counts["missing"] = sum(judge.all_missing for setting in metrics.settings for judge in setting.judges)
    return counts


def _first_list(found: list[str]) -> Markup:
    return element("ul", [element("li", note) for note in found])


def _tile(count: int, of: int, kind: str, words: str, key: str) -> Markup:
    return element(
        "li",
        element("strong", f"{count:,}"),
        element("span", f"of {of:,} {kind} {words}"),
        class_="tile warn" if count else "tile",
        data_count=key,
    )


SCRIPTS = ("text", "data", "filters", "samples", "keys", "plots", "main")

"""The files of js/, in the order in which the page runs them, as one script."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with its heading; `key` names its anchor."""

    key: str
    title: str
    body: Markup


def run_page(
    metrics: RunMetrics,
    run: RunFile,
    samples: PackedSamples,
    analysis: FineGrained | None = None,
    stand_ins: StandIns = NO_STAND_INS,
) -> str:
    """The whole report of one run. `run` is the content of its run.json, `analysis` that of its analysis.json.

    Published figures stand beside the run's where there are some, of its own model or of what `stand_ins` says.
    """
    title = f"Safety of {printable(metrics.model)}"
    parts = sections(metrics, run, samples, analysis, stand_ins)
    return assemble(title, _run_line(metrics, run), parts, samples)


def sections(
    metrics: RunMetrics,
    run: RunFile,
    samples: PackedSamples,
    analysis: FineGrained | None,
    stand_ins: StandIns,
) -> list[Section]:
    """In the order of reading."""
    published = published_section(metrics, stand_ins)
    plots = Section("plots", "Plots", join([figure(plot) for plot in run_plots(metrics)]))
    fine = [] if analysis is None else [Section("analysis", "Fine-grained", fine_grained_section(analysis, metrics))]
    return [
        Section("first", "To know first", know_first(metrics)),
        Section("figures", "Figures", join(safety_table(metrics), outcomes_table(metrics))),
        *([] if published is None else [Section("published", "Beside the paper", published)]),
        plots,
        *fine,
        Section("run", "The run", run_facts(run)),
        Section("samples", "Samples", _browser(samples)),
    ]


def assemble(title: str, line: str, parts: Sequence[Section], samples: PackedSamples | None = None) -> str:
    """The document. Without `samples` it has no sample browser."""
    style = _file("report.css")
    script = "\n".join(["(() => {", '"use strict";', *(_file(f"js/{name}.js") for name in SCRIPTS), "})();"])
    chunks = [
        f'<script type="application/octet-stream" id="chunk{number}">{chunk}</script>'
        for number, chunk in enumerate(samples.chunks if samples else ())
    ]
    return Template(_file("template.html")).substitute(
        policy=escape(_policy(style, script)),
        title=escape(title),
        style=style,
        body=_body(title, line, parts),
        index=samples.index if samples else "",
        script=script,
        chunks="\n".join(chunks),
    )


def _body(title: str, line: str, parts: Sequence[Section]) -> Markup:
    links = [element("li", element("a", part.title, href=f"#{part.key}")) for part in parts]
    scheme = element("button", "◐ Dark or light", type="button", id="scheme", class_="quiet")
    header = element("header", element("div", element("h1", title), element("p", line, class_="line")), scheme)
    drawn = [
        element(
            "section",
            element("h2", part.title, id=f"{part.key}-title"),
            part.body,
            id=part.key,
            aria_labelledby=f"{part.key}-title",
        )
        for part in parts
    ]
    return join(
        element("a", f"Skip to {parts[-1].title}", href=f"#{parts[-1].key}", class_="skip"),
        header,
        element("nav", element("ul", links), aria_label="Sections"),
        element("main", drawn),
    )


def _run_line(metrics: RunMetrics, run: RunFile) -> str:
    counts = (
        (sum(setting.rows for setting in metrics.settings), "samples"),
        (len(metrics.settings), "settings"),
        (len({judge.name for judge in run.identity.judges or ()} | set(run.added)), "judges"),
    )
    ended = f"ended {run.finished:%Y-%m-%d}" if run.finished else "not ended"
    return " · ".join([*(f"{count:,} {words if count != 1 else words[:-1]}" for count, words in counts), ended])


def _browser(samples: PackedSamples) -> Markup:
    told = f"{samples.rows:,} samples."
    if samples.with_text < samples.rows:
        told += (
            f" The texts of {samples.with_text:,} of them, drawn at random, are in this file; the run's folder holds "
            "all. Search finds only samples with text."
        )
    warning = "Responses to harmful prompts can be harmful, so texts are blurred until you ask for them."
    return join(element("p", f"{told} {warning}", class_="legend"), Markup(_file("browser.html")))


def _policy(style: str, script: str) -> str:
    """No request to anywhere, no script but this one, and no way from text to markup within it."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8").strip()
