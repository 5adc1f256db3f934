"""A document as HTML: cells as text, details below their figure, warnings, links, caveats and notes."""

from dataclasses import replace

from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.summary import summarise
from safechain_ray.report.document import (
    Cell,
    Column,
    Document,
    Table,
    cell,
    figure_cell,
    figure_columns,
    text_column,
)
from safechain_ray.report.html.elements import caveats_and_notes, html_table
from safechain_ray.report.leaderboard import outcomes_table
from safechain_ray.report.renderers import markdown, rich_table
from safechain_ray.types import Verdict
from tests.made_runs.by_samples import sample, setting


def table_of(*cells: Cell) -> Table:
    return Table("T", (text_column("Model"), *figure_columns(*"x" * (len(cells) - 1))), ((cells,),))


def test_a_table_of_a_document_keeps_its_cells_as_text():
    table = Table("Title <b>", (text_column("Setting"), Column(("A", "%"))), (((cell("<i>one", "two"), cell("1.0")),),))
    markup = html_table(replace(table, caption="Caption"))
    assert '<th scope="row">&lt;i&gt;one\ntwo</th><td class="number">1.0</td>' in markup
    assert "<caption>Title &lt;b&gt;</caption>" in markup
    assert '<th scope="col" class="number">A\n%</th>' in markup
    assert '<p class="legend">Caption</p>' in markup


def test_details_are_below_their_figure_with_dashes_and_one_line_has_no_mark():
    markup = html_table(table_of(cell("a"), figure_cell(["40.6", "37.1-44.2", "(30.0-50.0)"]), figure_cell(["none"])))
    details = '<span class="detail">37.1–44.2</span><span class="detail">(30.0–50.0)</span>'
    assert f'<td class="number"><strong>40.6</strong>{details}</td>' in markup
    assert '<td class="number">none</td>' in markup


def test_a_name_keeps_its_hyphens():
    assert "R1-7-2" in html_table(table_of(cell("R1-7-2"), cell("1")))


def test_details_and_links_hold_no_markup():
    hostile = "<b>&\u202e\x1b[31m"
    markup = html_table(table_of(cell(hostile, link='x" onclick="y/<b>'), figure_cell([hostile, hostile])))
    assert "<b>" not in markup
    assert "onclick=" not in markup
    assert '<a href="x%22%20onclick%3D%22y/%3Cb%3E">&lt;b&gt;&amp;</a>' in markup
    assert '<strong>&lt;b&gt;&amp;</strong><span class="detail">&lt;b&gt;&amp;</span>' in markup


def test_a_warning_is_a_class_in_html_a_colour_on_a_terminal_and_nothing_in_markdown():
    table = table_of(cell("a"), cell("3", is_warning=True))
    assert '<td class="number warn">3</td>' in html_table(table)
    assert [cell.style for cell in rich_table(table).columns[1].cells] == ["yellow"]
    assert "| a | 3 |" in markdown(Document((table,)))


def test_caveats_come_before_notes_and_a_sentence_replaces_no_notes():
    both = caveats_and_notes(Document((), ("Tiny.",), ("A <note>.",)), "All is there.")
    assert both == '<p class="caveat">Tiny.</p><ul class="legend"><li>A &lt;note&gt;.</li></ul>'
    assert caveats_and_notes(Document(()), "All is there.") == '<p class="legend">All is there.</p>'


def test_the_outcomes_of_a_sweep_have_links_and_missing_verdicts_where_asked():
    of = setting(samples=1)
    missing = sample(of, 0, verdicts=(Verdict("guard", "response", None),))
    cut = replace(sample(of, 1, verdicts=(Verdict("guard", "response", True),)), outcome="truncated")
    metrics = summarise(count_samples([missing, cut]), [of], [("guard", "response")])
    runs = [metrics.model_copy(update={"model": "tiny"})]
    (((name, *counts),),) = outcomes_table(runs, ["tiny/report.html"], with_missing=True).groups
    assert (name.lines, name.link) == (("tiny",), "tiny/report.html")
    assert [each.lines for each in counts] == [("2",), ("1",), ("1",), ("0",), ("0",), ("1",)]
    assert [each.is_warning for each in counts] == [False, False, True, False, False, True]
    (((plain, *others),),) = outcomes_table(runs).groups
    assert (plain.link, len(others)) == ("", len(counts) - 1)
