"""Every escape on many strings: a renderer of the format shows exactly the text, and nothing of it acts."""

import io
import re
from html.parser import HTMLParser
from xml.sax.saxutils import unescape

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from safechain_ray.report import renderers
from safechain_ray.report.document import escape, printable, printable_lines
from safechain_ray.report.html.elements import element

SMALL = settings(max_examples=3 * settings().max_examples)
LARGE = settings(max_examples=100_000)

MARKS = "\\`*_[]<>|#&~$!^%{}\"'-+=.):/;@? 0123abwx\x1b\x00\n\té中"
PIECES = (
    *("---", "***", "- - -", "* * *", "===", "1.", "1)", "12. ", "0) ", "+ ", "> ", "# ", "|---|", "[ ] ", "[^1]"),
    *("www.", "WWW.", "//", "http://", "https://", "ftp://", "mailto:", "xmpp:", "x.com", "a@b.co", "@.com"),
    *("<b>", "<!--", "-->", "<a@b.co>", "<?", "&amp;", "&#35;", "&lt", "```", "~~", "$x$", "\\(", "\u200b", "\u00a0"),
    *(
        "[/]",
        "[bold]",
        "[link=x]",
        ":v:",
        ":+1:",
        "\x1b[31m",
        "\x9b2J",
        "\u202e",
        "\ud800",
        "[a]: b",
        "localhost",
        "😀",
    ),
)
hostile = st.lists(st.sampled_from(PIECES) | st.text(MARKS, max_size=5), max_size=6).map("".join) | st.text(max_size=20)

TABLE = "| a | b |\n| --- | --- |\n| {} | x |"
PLACES = {
    "{}": ["p"],
    "# {}": ["h1"],
    "- {}": ["ul", "li"],
    "**{}**": ["p", "strong"],
    TABLE: ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"],
}
"""Where the documents put texts, and the elements that belong there."""

LINKING = MarkdownIt("gfm-like")


class Shown(HTMLParser):
    """The texts and the opening tags of HTML."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.tags = "", []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def check_markdown(text: str) -> None:
    """As GitHub renders it, and as a renderer does that makes links of bare addresses."""
    wanted = printable(text)
    if not wanted:
        return
    for place, tags in PLACES.items():
        source = place.format(renderers.escape_markdown(text))
        for rendered in (
            cmarkgfm.github_flavored_markdown_to_html(source, Options.CMARK_OPT_UNSAFE),
            LINKING.render(source),
        ):
            shown = Shown(rendered)
            found = re.sub(r"^a\s+b\s+|\s+x$", "", shown.text.strip()) if place == TABLE else shown.text.strip()
            assert (found, shown.tags) == (wanted, tags)


def check_html(text: str) -> None:
    shown = Shown(element("p", text, title=text))
    assert (shown.text, shown.tags) == (printable_lines(text), ["p"])
    attribute = re.fullmatch(r'<p title="([^"<>]*)">.*', element("p", text, title=text), re.DOTALL)
    assert attribute is not None
    assert unescape(attribute[1], {"&quot;": '"', "&#x27;": "'"}) == printable_lines(text)


def check_terminal(text: str) -> None:
    console = Console(file=io.StringIO(), width=10_000, force_terminal=True)
    console.print(f"{escape(text)}[red]x[/red]", highlight=False, soft_wrap=True)
    before, colour, after = console.file.getvalue().partition("\x1b[31m")
    assert (colour, after) == ("\x1b[31m", "x\x1b[0m\n")
    assert before.replace("\\", "") == printable(text).replace("\\", "")
    assert "\x1b" not in before


def check_latex(text: str) -> None:
    """Each character that LaTeX acts on is written as a command: read back, they are the text."""
    source = renderers.escape_latex(text)
    characters = {command: character for character, command in renderers.LATEX_COMMANDS.items()} | {"{-}": "-"}
    command = re.compile("|".join(re.escape(each) for each in sorted(characters, key=len, reverse=True)))
    assert command.sub(lambda match: characters[match[0]], source) == printable(text)
    assert not re.search(r'[\\{}$&#%_^~<>|"`\[\]*]', command.sub("", source))
    assert "--" not in source


def check_all(text: str) -> None:
    for check in (check_markdown, check_html, check_terminal, check_latex):
        check(text)


@SMALL
@given(hostile)
@example("a@b.co")
@example("+@.com[^1]")
@example("@a.b")
@example("mailto:@.com")
@example("mailto:---@0")
@example("@mailto:a@b")
@example("www.**")
@example("//localhost")
@example("- - -")
@example("1) a")
@example(":v:")
@example("0\r\x1b")
def test_escaped_text_shows_as_it_is_in_every_format(text: str) -> None:
    check_all(text)


@pytest.mark.long
@pytest.mark.timeout(7200)
@LARGE
@given(hostile)
def test_a_hundred_thousand_escaped_texts_show_as_they_are(text: str) -> None:
    check_all(text)
