"""The page: sections in the order of reading, put into the template under a policy that lets nothing in or out."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template
from typing import Any

from safechain_ray.analysis.fine_grained import FineGrained
from safechain_ray.metrics.published import NO_STAND_INS, StandIns
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.html.analysis import fine_grained_section
from safechain_ray.report.html.facts import run_facts
from safechain_ray.report.html.figure import figure
from safechain_ray.report.html.first import know_first
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.html.plots import run_plots
from safechain_ray.report.html.published import published_section
from safechain_ray.report.html.samples import PackedSamples
from safechain_ray.report.html.tables import outcomes_table, safety_table

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
    run: Mapping[str, Any],
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
    run: Mapping[str, Any],
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


def _run_line(metrics: RunMetrics, run: Mapping[str, Any]) -> str:
    counts = (
        (sum(setting.rows for setting in metrics.settings), "samples"),
        (len(metrics.settings), "settings"),
        (len({judge["name"] for judge in run["identity"]["judges"]} | set(run.get("added", {}))), "judges"),
    )
    finished = run.get("finished")
    ended = f"ended {finished[:10]}" if finished else "not ended"
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
