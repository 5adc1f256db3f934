"""Whether two answers are the same as written: what can be told of LaTeX without algebra."""

import re
from fractions import Fraction

from safechain_ray.benchmarks.math_answer import NUMBER
from safechain_ray.benchmarks.math_units import SYMBOLS, is_unit

_THIN_SPACES = re.compile(r"\\[!,]")
_WIDE_SPACES = re.compile(r"\\[;: ]|\\q?quad\b|~")
_NOT_BETWEEN_DIGITS = re.compile(r"(?<!\d)\s+|\s+(?!\d)")  # 1 1/2 is not 11/2
_NOTHING = re.compile(r"\\left\b|\\right\b|\\displaystyle\b|\^\{?\\circ\}?|\\degree\b|\\?\$")
_TRAILING_UNIT = re.compile(r"(?<=[^\s=])\s*\\(?:text|mbox|mathrm|textrm)\{\s([^{}]*)\}(?:\^\{?\d\}?)?$")
_WORDS = re.compile(r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf)\{([^{}]*)\}")
_SHORT_BRACES = re.compile(r"([_^])\{(\w)\}")
_NUMBER = re.compile(rf"([-+]?)(?:{NUMBER}|\d{{1,3}}(?: \d{{3}})+(?:\.\d+)?)")
_NUMBER_AND_UNIT = re.compile(rf"([-+]?{NUMBER})\s+([A-Za-z][A-Za-z .-]*)")
_CHOICE = re.compile(r"\(([A-Z])\)")
_BASED = re.compile(r"(\w+)_\{?(\d+)\}?")


def same_as_written(gold: str, answer: str) -> bool | None:
    """Whether `answer` is `gold`, None where that takes algebra.

    Numbers in digits are compared exactly; spaces, sizes of brackets, degrees, dollar signs, thousands separators and
    a unit in words after a number count for nothing. Numbers of two different bases are different. Of a gold `(C)` and
    an answer that begins with such a choice the letters decide.
    """
    first, second = _plain(gold), _plain(answer)
    if first == second:
        return True
    if _is_word(first) and _is_word(second):
        return first.casefold() == second.casefold()
    left, right = _number(first), _number(second)
    if left is not None and right is None:
        named = _NUMBER_AND_UNIT.fullmatch(_NOTHING.sub("", answer).strip())
        right = _number(named[1]) if named and _is_unit_of(named[1], named[2]) else None
    if left is not None and right is not None:
        return left == right
    choice, chosen = _CHOICE.fullmatch(first), _CHOICE.match(second)
    if choice is not None and chosen is not None:
        return choice[1] == chosen[1]
    based = _BASED.fullmatch(first), _BASED.fullmatch(second)
    if based[0] is not None and based[1] is not None:
        return based[0].groups() == based[1].groups()
    return None


def _plain(text: str) -> str:
    text = _NOTHING.sub("", text).strip().rstrip(".")
    text = _WORDS.sub(r"\1", _TRAILING_UNIT.sub(_without_unit, text))
    text = _NOT_BETWEEN_DIGITS.sub("", _WIDE_SPACES.sub(" ", _THIN_SPACES.sub("", text)))
    return _SHORT_BRACES.sub(r"\1\2", text.replace("dfrac", "frac").replace("tfrac", "frac"))


def _without_unit(trailing: re.Match[str]) -> str:
    unit = trailing[1].strip()
    return "" if not unit or unit in SYMBOLS or is_unit(unit, singular=True) else trailing[0]


def _is_unit_of(number: str, text: str) -> bool:
    return is_unit(text, singular=abs(Fraction(number.replace(",", ""))) <= 1)


def _is_word(text: str) -> bool:
    return len(text) > 1 and text.isalpha()


def _number(text: str) -> tuple[str, str, str] | None:
    """Sign, whole and decimal digits of a number written in digits; equal for equal numbers, however long."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    whole, _, decimals = text.lstrip("+-").replace(",", "").replace(" ", "").partition(".")
    whole, decimals = whole.lstrip("0"), decimals.rstrip("0")
    return ("-" if match[1] == "-" and (whole or decimals) else "", whole, decimals)
