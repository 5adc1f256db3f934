"""Escapes of foreign text (data sets, models, judges) for a terminal and for rich."""

import re
import unicodedata

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]", re.DOTALL
)
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_EMOJI = re.compile(r":(?=[^\s:]{1,80}:)")
_UNPRINTABLE = frozenset({"Cc", "Cs"})


def printable(text: str) -> str:
    """`text` on one line, without ANSI sequences, control characters, lone surrogates and marks of text direction.

    Markup stays as it is: for `rich.text.Text`, which does not parse it, and for plain log lines.
    """
    return _without_controls(" ".join(_ANSI.sub("", text).split())).strip()


def printable_lines(text: str) -> str:
    """`printable` with line ends and spaces, for a message of several lines that quotes foreign text."""
    return "\n".join(map(_without_controls, _ANSI.sub("", text).expandtabs().splitlines()))


def _without_controls(line: str) -> str:
    return "".join(
        character
        for character in line
        if unicodedata.category(character) not in _UNPRINTABLE and character not in _BIDI
    )


def escape(text: str) -> str:
    """`printable` text for a string that rich parses as markup: no bracket opens a tag, in any surrounding text.

    Backslashes before a bracket and at the end are doubled, so that none escapes a tag of the string around it; rich
    shows them doubled where no tag follows. A tag without a style parts what rich would replace by an emoji (`:v:`).
    """
    quoted = re.sub(r"(?<!\\)(\\*)(\[|$)", lambda match: 2 * match[1] + ("\\[" if match[2] else ""), printable(text))
    return _EMOJI.sub(":[none][/none]", quoted)
