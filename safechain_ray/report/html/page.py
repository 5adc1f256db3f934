"""The shell of every page: its sections in a template, under a content security policy without network access."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template

from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.html.samples import PackedSamples

SCRIPTS = ("text", "data", "filters", "samples", "keys", "plots", "main")
"""The files of js/, in the order in which the page runs them, as one script."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with its heading; `key` names its anchor."""

    key: str
    title: str
    body: Markup


def assemble(title: str, line: str, sections: Sequence[Section], samples: PackedSamples | None = None) -> str:
    """The document. Without `samples` it has no sample browser."""
    style = read_asset("report.css")
    script = "\n".join(["(() => {", '"use strict";', *(read_asset(f"js/{name}.js") for name in SCRIPTS), "})();"])
    chunks = [
        f'<script type="application/octet-stream" id="chunk{number}">{chunk}</script>'
        for number, chunk in enumerate(samples.chunks if samples else ())
    ]
    return Template(read_asset("template.html")).substitute(
        policy=escape(_policy(style, script)),
        title=escape(title),
        style=style,
        body=_body(title, line, sections),
        index=samples.index if samples else "",
        script=script,
        chunks="\n".join(chunks),
    )


def read_asset(name: str) -> str:
    """A file of this folder, as text."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


def _body(title: str, line: str, sections: Sequence[Section]) -> Markup:
    links = [element("li", element("a", section.title, href=f"#{section.key}")) for section in sections]
    scheme = element("button", "◐ Dark or light", type="button", id="scheme", class_="quiet")
    header = element("header", element("div", element("h1", title), element("p", line, class_="line")), scheme)
    drawn = [
        element(
            "section",
            element("h2", section.title, id=f"{section.key}-title"),
            section.body,
            id=section.key,
            aria_labelledby=f"{section.key}-title",
        )
        for section in sections
    ]
    return join(
        element("a", f"Skip to {sections[-1].title}", href=f"#{sections[-1].key}", class_="skip"),
        header,
        element("nav", element("ul", links), aria_label="Sections"),
        element("main", drawn),
    )


def _policy(style: str, script: str) -> str:
    """Forbids every request, every script but this one, and any text that becomes markup."""
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
