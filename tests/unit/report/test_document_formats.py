"""A document as Markdown and as LaTeX: every text is shown unchanged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from safechain_ray.report import renderers
from safechain_ray.report.document import Column, Document, Table, cell, figure_columns, printable, text_column

GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])

MARKS = "\\`*_[]<>|#&~$!^%{}\"'-+=.):/ 0123\x1b\x00\n@wx&lt;"
foreign = st.text(st.sampled_from(MARKS), max_size=30) | st.text(max_size=30)
names = foreign.filter(lambda text: printable(text).strip() != "")


def document(title: str = "Title", name: str = "name", note: str = "note") -> Document:
    columns = (text_column("Setting"), Column(("Safe", "unsafe")), *figure_columns("Missing"))
    rows = ((cell(name, "second"), cell("40.6", "37.1-44.2"), cell("-3.1")),)
    return Document((Table(title, columns, (rows, rows), "How to read."),), ("A caveat.",), (note,))


def inline_texts(source: str) -> list[str]:
    """What a reader sees, one text for each heading, cell, paragraph; refuses any mark inside."""

    def shown(token: Token) -> str:
        children = [child for child in token.children if child.content != "<!-- -->"]  # parts a mail address
        assert {child.type for child in children} <= {"text", "text_special", "strong_open", "strong_close"}
        return "".join(child.content for child in children)

    return [shown(token) for token in GITHUB.parse(source) if token.type == "inline"]


@given(names, names, names)
def test_markdown_shows_every_text_as_it_is(title: str, name: str, note: str) -> None:
    source = renderers.markdown(document(title, name, note))
    row = [f"{printable(name)}; second", "40.6; 37.1-44.2", "-3.1"]
    shown = [" ".join(text.split()) for text in inline_texts(source)]
    wanted = ["A caveat.", printable(title), "Setting", "Safe; unsafe", "Missing", *row, *row, "How to read."]
    assert shown == [" ".join(text.split()) for text in [*wanted, "Read with care", printable(note)]]


@pytest.mark.parametrize("text", ["https://evil.example", "see HTTP://evil.example", "www.evil.example", "$x^2$"])
def test_markdown_makes_no_link_and_no_formula_of_a_name(text: str) -> None:
    assert not re.search(r"(?<!\\):(?=//)|www\.|(?<!\\)\$", renderers.escape_markdown(text), re.IGNORECASE)


def without_commands(source: str) -> str:
    """The text that LaTeX sets for escaped `source`."""
    for character, command in sorted(renderers.LATEX_COMMANDS.items(), key=lambda item: -len(item[1])):
        source = source.replace(command, f"\0{ord(character)};")
    source = source.replace("-{-}", "--").replace("{-}", "-")
    assert not re.search(r'[\\{}$&#%_^~<>|"`\[\]*]', source)
    return re.sub("\0(\\d+);", lambda match: chr(int(match[1])), source)


@given(foreign)
def test_latex_shows_every_text_as_it_is(text: str) -> None:
    escaped = renderers.escape_latex(text)
    assert without_commands(escaped) == printable(text)
    assert "--" not in escaped


@given(names, names, names)
def test_latex_keeps_as_many_rows_and_cells_for_any_name(title: str, name: str, note: str) -> None:
    source = renderers.latex(document(title, name, note))
    inner = re.sub(r"\\begin\{tabular\}\[t\].*?\\end\{tabular\}", "stack", source)
    rows = [line for line in inner.splitlines() if line.endswith(r" \\")]
    assert rows == [r"    Setting & stack & Missing \\", *[r"    stack & stack & $-$3.1 \\"] * 2]
    unescaped = re.sub(r"\\[{}]", "", source)
    assert unescaped.count("{") == unescaped.count("}")
    assert source.count(r"\begin") == source.count(r"\end") == 2 + source.count("[t]") + 1


def test_latex_writes_ranges_and_negative_figures_as_such_and_leaves_names_alone() -> None:
    source = renderers.latex(document(name="llama-guard-3-8b"))
    assert r"37.1--44.2" in source
    assert r"$-$3.1" in source
    assert "llama-guard-3-8b" in source


def test_a_latex_row_can_open_with_a_bracket_or_a_star() -> None:
    rows = ((cell("[x]"),), (cell("*y"),))
    source = renderers.latex(Document((Table("t", (text_column("Category"),), (rows,)),)))
    assert "{[}x{]}" in source
    assert "{*}y" in source


def test_a_caveat_that_shows_nothing_draws_no_line() -> None:
    empty = Document((), ("\x00", ""), ("\x1b[0m", "A note."))
    assert "****" not in renderers.markdown(empty)
    assert inline_texts(renderers.markdown(empty)) == ["Read with care", "A note."]
