"""Definitions of figures: each has a source, and every link of a page to one has a target on that page."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.report.document import Document, Table, cell, text_column
from safechain_ray.report.glossary import TERMS, term_column, term_columns
from safechain_ray.report.html.definitions import with_glossary
from safechain_ray.report.html.elements import Section, document_tables, html_table
from safechain_ray.report.html.sweep import sweep_page
from safechain_ray.report.labels import METRIC_LABELS
from safechain_ray.report.leaderboard import SweepRun
from tests.made_runs.by_samples import setting, varied, write_run
from tests.unit.report.test_html_page import stored

TABLE = Table(
    "Over-refusal",
    (text_column("Model"), *term_columns("safe-at-1", "pass-at-k")),
    (((cell("a"), cell("1.0"), cell("2.0")),),),
    "In percent, with 95% intervals, and more 95% intervals. ConsSafe@K and Safe@K.",
    term="over-refusal",
)


def test_every_term_has_a_meaning_of_some_words_and_a_source():
    for key, term in TERMS.items():
        assert re.fullmatch(r"[a-z0-9-]+", key)
        assert len(term.meaning.split()) >= 5
        assert term.meaning.endswith(".")
        assert term.source


def test_every_metric_and_every_outcome_is_defined():
    assert {term.name for term in TERMS.values()} > {*METRIC_LABELS.values(), *OUTCOMES, "Over-refusal", "pass@k"}


def test_a_column_of_an_unknown_term_is_refused():
    with pytest.raises(KeyError):
        term_column("safe-at-7")


def links(page: str) -> set[str]:
    return set(re.findall(r'href="#([^"]+)"', page))


def anchors(page: str) -> set[str]:
    return set(re.findall(r' id="([^"]+)"', page))


def test_every_link_within_a_run_page_has_its_target(tmp_path: Path):
    _, page = stored(tmp_path)
    assert {"term-safe-at-1", "term-truncated", "figures"} <= links(page)
    assert links(page) - anchors(page) == set()


def test_a_page_of_a_sweep_has_the_same_definitions(tmp_path: Path):
    metrics = write_run(tmp_path, [setting()], varied([setting()], 6))
    page = sweep_page([SweepRun(metrics, "tiny/report.html")])
    assert {"term-safe-at-1", "term-missing-verdicts", "term-judge"} <= links(page)
    assert links(page) - anchors(page) == set()


def test_each_word_of_a_caption_is_linked_once():
    markup = html_table(TABLE)
    captioned = markup.partition("</table>")[2]
    assert re.findall(r'href="#term-([^"]+)"', captioned) == ["interval", "cons-safe-at-k", "safe-at-k"]
    assert re.sub("<[^>]+>", "", captioned) == TABLE.caption


def test_the_glossary_has_the_terms_in_use_and_where_they_are_used():
    first, glossary = with_glossary([Section("first", "First", html_table(TABLE))])
    assert first.title == "First"
    assert 'id="term-pass-at-k"' in glossary.body
    assert 'id="term-problems"' not in glossary.body
    assert '<a href="#first">First</a>' in glossary.body


def test_foreign_text_makes_no_term():
    hostile = '<a class="term" href="#term-safe-at-1">x</a>'
    table = Table(hostile, (text_column(hostile),), (((cell(hostile),),),), hostile)
    (_, glossary) = with_glossary([Section("first", "First", html_table(table))])
    assert "#first" not in glossary.body.split('id="term-safe-at-1"')[-1].split("</div>")[0]


def test_a_notebook_has_no_glossary_so_it_has_no_links():
    shown = document_tables(Document((TABLE, replace(TABLE, term=""))))
    assert "<a" not in shown
    assert "ConsSafe@K and Safe@K." in shown
