"""The section of a page with the sample browser, and what to know before its texts are read."""

from dataclasses import replace

from safechain_ray.report.document import Document
from safechain_ray.report.html.elements import Markup, Section, element, join, read_asset
from safechain_ray.report.html.samples import PackedSamples

HARMFUL = "Responses to harmful prompts can be harmful, so texts are blurred until you ask for them."


def browser_section(samples: PackedSamples, noun: str = "samples") -> Section:
    """The samples of a run; `noun` is what they are called there."""
    words = f"{samples.rows:,} {noun}."
    if samples.with_text < samples.rows:
        words += (
            f" The texts of {samples.with_text:,} of them, drawn at random, are in this file; the run's folder holds "
            "all. Search finds only those with text."
        )
    if samples.is_blurred:
        words += f" {HARMFUL}"
    browser = join(element("p", words, class_="legend"), Markup(read_asset("browser.html")))
    return Section("samples", "Samples", browser)


def with_absent_rows(document: Document, rows: int, samples: PackedSamples) -> Document:
    """The document with the caveats of its samples, and one where samples/ has not the `rows` behind the figures."""
    caveats = samples.caveats
    if samples.rows != rows:
        absent = f"The figures are of {rows:,} rows, and samples/ has {samples.rows:,}."
        caveats = (*caveats, f"{absent} Fix: rerun the command of this folder.")
    return replace(document, caveats=(*document.caveats, *caveats))
