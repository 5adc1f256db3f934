"""Foreign text in the terminal."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from safechain_ray.report.document import escape, printable, printable_lines


@pytest.mark.parametrize(
    ("hostile", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;new title\x07rest", "rest"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1bPdevice\x1b\\control", "control"),
        ("\x1bcreset", "reset"),
        ("\x1b", ""),
        ("one\r\n\ttwo\x00\x08", "one two"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("lone \ud800 surrogate", "lone  surrogate"),
        ("[bold]Violence & Hate[/bold] é 中", "[bold]Violence & Hate[/bold] é 中"),
    ],
)
def test_printable_text_keeps_words_and_drops_what_steers_a_terminal(hostile: str, expected: str) -> None:
    assert printable(hostile) == expected


@given(st.text(st.characters(codec=None, exclude_categories=())) | st.text("\x1b\x9b[]mPX\\\x07;0 a\n"))
def test_no_text_leaves_a_control_character(text: str) -> None:
    shown = printable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    assert shown.encode().decode() == shown


MARKUP = ["[/]", "[bold", "[link=x]a[/link]", "[@click=x]a", "]"]


def shown(markup: str) -> str:
    console = Console(file=io.StringIO(), width=10_000, force_terminal=True)
    console.print(markup, highlight=False)
    return console.file.getvalue().removesuffix("\n")


@given(st.text("[]/abold=@#! ") | st.sampled_from(MARKUP))
def test_escaped_text_is_printed_unchanged_where_markup_is_parsed(text: str) -> None:
    assert shown(f"{escape(text)}!") == f"{printable(text)}!"


@given(st.text("[]/\\abold= ") | st.sampled_from(MARKUP))
def test_escaped_text_neither_opens_nor_breaks_a_tag_of_the_string_around_it(text: str) -> None:
    found = shown(f"{escape(text)}[red]x[/red] b]")
    assert found.endswith("\x1b[31mx\x1b[0m b]")
    assert found.count("\x1b") == 2
    assert found.split("\x1b")[0].replace("\\", "") == printable(text).replace("\\", "")


def test_a_message_of_several_lines_keeps_its_columns_and_drops_what_steers_a_terminal() -> None:
    assert printable_lines("pool   \x1b[2Jneeds\n  a\tb\u202e\x07") == "pool   needs\n  a     b"
