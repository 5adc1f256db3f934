"""The glossary at the end of a page: the definitions that the page uses, with links to the sections that use them."""

from collections.abc import Iterable, Sequence

from safechain_ray.report.glossary import TERMS, Term
from safechain_ray.report.html.elements import Markup, Section, element, join, linked_terms
from safechain_ray.report.html.samples import SHOWN_FACTS

ALWAYS = ("interval", "bounds", "setting", "k")
"""Terms of every page: tables mention them in their cells and captions."""

_OF_FACTS = tuple(name.replace("_", "-") for name in SHOWN_FACTS)

OF_VERDICTS = ("judge", "verdict", "score")

OF_GRADES = ("grade", "reference", *_OF_FACTS)

OF_SAMPLES = (*OF_VERDICTS, *_OF_FACTS)


def with_glossary(sections: Sequence[Section], of_samples: Iterable[str] = ()) -> list[Section]:
    """The sections, and after them the definitions of the terms that they link to.

    `of_samples` are the terms of the sample browser, which the page's script links to.
    """
    used = {section.key: linked_terms(section.body) for section in sections}
    if of_samples:
        used["samples"].update(of_samples)
    shown = set().union(*used.values(), ALWAYS)
    entries = [
        _entry(term, [section for section in sections if key in used[section.key]])
        for key, term in TERMS.items()
        if key in shown
    ]
    body = element("dl", entries, class_="glossary")
    return [*sections, Section("glossary", "Glossary", body, is_reference=True)]


def _entry(term: Term, users: Iterable[Section]) -> Markup:
    links = [element("a", section.title, href=f"#{section.key}") for section in users]
    back = [join(", " if place else " Used in: ", link) for place, link in enumerate(links)]
    return element(
        "div",
        element("dt", term.name),
        element(
            "dd",
            element("span", term.meaning, id=f"term-{term.key}-meaning"),
            element("small", element("span", f"Source: {term.source}."), back),
        ),
        id=f"term-{term.key}",
        tabindex=-1,
    )
