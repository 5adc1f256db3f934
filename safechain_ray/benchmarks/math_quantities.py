"""Parser and comparison of numbers as people write them: mixed numbers, English number words, figures with units."""

import re
from dataclasses import dataclass
from fractions import Fraction

from safechain_ray.benchmarks.math_units import changes_number, is_atom, is_unit

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)

_FROM_TWENTY = "twenty thirty forty fifty sixty seventy eighty ninety"

_ONES = {word: value for value, word in enumerate(_BELOW_TWENTY.split())}

_TENS = {word: 10 * value for value, word in enumerate(_FROM_TWENTY.split(), start=2)}

_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}

LONGEST_WORDS = 120
"""Maximum characters of a number in words."""

_DROPPED = re.compile(r"\\left\b|\\right\b|\\displaystyle\b|\\[!,]|\\?\$")

_WIDE_SPACES = re.compile(r"\\[;: ]|\\q?quad\b|~")

_WORDS = re.compile(r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf)\s?\{([^{}]*)\}")

_NUMBER_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{([0-9]+)\}\s?\{([0-9]+)\}|([0-9])([0-9]))")

_UNIT_FRACTION = re.compile(r"\\[dt]?frac\s?\{([A-Za-z^0-9{} ]+)\}\s?\{([A-Za-z^0-9{} ]+)\}")

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"

_VALUE = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<whole>[0-9]+)\s+(?P<part>[0-9]+)/(?P<of>[0-9]+)|(?P<top>[0-9]+)/(?P<bottom>[0-9]+)"
    rf"|(?P<decimal>{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+))(?![0-9.,]*[0-9])"
)

_IN_BRACKETS = re.compile(r"\s*(?P<outside>[^()]+?)\s*\(\s*(?P<inside>[^()]+?)\s*\)\s*(?P<rest>[^()]*)")

_POWER = r"(?:\^?\{?-?[0-9]\}?|[²³])"

_ATOM = re.compile(rf"(?P<word>[A-Za-zµΩ]+)\.?(?P<power>{_POWER}?)")

_JOINT = re.compile(r"\s*(?:/|·|\\cdot\b|\bper\b)\s*")

_SPEEDS = frozenset({"m/s", "m/s^2", "m/s2", "m/s²"})
"""Units of single letters that can't be products of variables."""


def number_in_words(text: str) -> int | None:
    """The integer that the whole text names ("twenty-one", "two hundred and five"); None for any other text."""
    if len(text) > LONGEST_WORDS or not re.fullmatch(r"[A-Za-z]+(?:[ -][A-Za-z]+)*", text.strip()):
        return None
    total, smallest = 0, max(_SCALES.values()) * 10
    group: list[str] = []
    for word in re.split(r"[ -]", text.strip().lower()):
        scale = _SCALES.get(word)
        if scale is None:
            group.append(word)
            continue
        value = 1 if group == ["a"] and not total else _below_thousand(group)
        if not value or scale >= smallest:
            return None
        total, smallest, group = total + value * scale, scale, []
    if total and not group:
        return total
    if total and group[0] == "and":
        group = group[1:]
    value = _below_thousand(group)
    return None if value is None or (total and not value) else total + value


def _below_thousand(words: list[str]) -> int | None:
    hundreds = 0
    if words[1:2] == ["hundred"]:
        hundreds = 100 * ({"a": 1} | _ONES).get(words[0], 0)
        words = words[2:]
        if not 100 <= hundreds <= 900:
            return None
        if not words:
            return hundreds
        if words[0] == "and":
            words = words[1:]
    rest = _below_hundred(words)
    return None if rest is None or (hundreds and not rest) else hundreds + rest


def _below_hundred(words: list[str]) -> int | None:
    match words:
        case [word] if word in _ONES:
            return _ONES[word]
        case [word] if word in _TENS:
            return _TENS[word]
        case [ten, one] if ten in _TENS and 1 <= _ONES.get(one, 0) <= 9:
            return _TENS[ten] + _ONES[one]
    return None


@dataclass(frozen=True, slots=True)
class Quantity:
    """A parsed number. `value` is None if the answer contradicts itself, such as "eighteen (17)".

    `plain` is true of a bare number or fraction, which other rules compare.
    """

    value: Fraction | None
    unit: str = ""
    plain: bool = False


def same_quantity(gold: str, answer: str) -> bool | None:
    r"""Whether the two are the same number; None if neither has one of these forms, or a side is no number.

    If only one side has a unit, the numbers decide. Different units are not compared. The figure of the gold answer
    with a word that changes the number ("18 million") is wrong: math-verify ignores `\text{ million}`.
    """
    first, second = quantity(gold), quantity(answer)
    if first is not None and first.value and first.value == _figure_before_multiplier(answer):
        return False
    if first is None or second is None or (first.plain and second.plain):
        return None
    if first.unit and second.unit and first.unit != second.unit:
        return None
    return first.value is not None and first.value == second.value


def quantity(text: str) -> Quantity | None:
    """The number that the whole text is; None for any other text."""
    has_tex, says_unit = "frac" in text, _is_all_unit(text)
    text = _spelled_out(text)
    value = _VALUE.match(text)
    if value is not None and "(" not in text:
        number = _fraction(value)
        if number is None:
            return None
        unit = _unit(text[value.end() :], says_unit=says_unit, singular=abs(number) <= 1)
        if unit is None:
            return None
        is_mixed = value["whole"] is not None and not has_tex
        return Quantity(number, unit, plain=not unit and not is_mixed)
    in_words = number_in_words(text)
    return _words_and_figure(text) if in_words is None else Quantity(Fraction(in_words))


def _figure_before_multiplier(text: str) -> Fraction | None:
    """The figure of an answer such as "18 million" or "3 theta"; None for any other text."""
    text = _spelled_out(text)
    value = _VALUE.match(text)
    return _fraction(value) if value is not None and changes_number(text[value.end() :].strip(" -")) else None


def _words_and_figure(text: str) -> Quantity | None:
    """`eighteen (18)` and `18 (eighteen)`, optionally with a unit after them."""
    match = _IN_BRACKETS.fullmatch(text)
    if match is None:
        return None
    words, figure = match["outside"], match["inside"]
    if number_in_words(words) is None:
        words, figure = figure, words
    in_words, value = number_in_words(words), _VALUE.fullmatch(figure)
    if in_words is None or value is None:
        return None
    unit = _unit(match["rest"], singular=in_words <= 1)
    if unit is None:
        return None
    return Quantity(Fraction(in_words) if _fraction(value) == in_words else None, unit)


def _spelled_out(text: str) -> str:
    """LaTeX of numbers and units as plain text."""
    text = _WIDE_SPACES.sub(" ", _DROPPED.sub("", text))
    text = _WORDS.sub(r" \1 ", text)
    text = _NUMBER_FRACTION.sub(lambda found: f" {found[1] or found[3]}/{found[2] or found[4]} ", text)
    text = _UNIT_FRACTION.sub(r" \1/\2 ", text)
    return re.sub(r"\s*(/)\s*|\s+(?=\^)", r"\1", " ".join(text.split())).removesuffix(".")


def _is_all_unit(text: str) -> bool:
    r"""Whether all letters are inside text commands (`18\text{ m}^2`), so that no letter can be a variable."""
    rest = re.sub(r"\\[a-z]+", "", _WORDS.sub("", text))
    return _WORDS.search(text) is not None and not re.search(r"[A-Za-z]", rest)


def _fraction(match: re.Match[str]) -> Fraction | None:
    """The number; None for a division by zero, and for a mixed number whose fraction is 1 or more (a product?)."""
    if match["decimal"] is not None:
        value = Fraction(match["decimal"].replace(",", ""))
    else:
        top, bottom = int(match["part"] or match["top"]), int(match["of"] or match["bottom"])
        if bottom == 0 or (match["whole"] is not None and not 0 < top < bottom):
            return None
        value = int(match["whole"] or 0) + Fraction(top, bottom)
    return -value if match["sign"] == "-" else value


def _unit(text: str, *, says_unit: bool = False, singular: bool = False) -> str | None:
    """The unit in a text, "" for an empty text, None for any other text.

    `says_unit` is true if no letter can be a variable. Otherwise a unit of single letters may be a product: `18 m^2`.
    `singular` is true after a number of at most 1.
    """
    text = text.strip()
    if not text:
        return ""
    if is_unit(text, singular=singular):
        return text.rstrip(".")
    joint = _JOINT.match(text)
    atoms = _JOINT.split(text[joint.end() :] if joint else text)
    matches = [_ATOM.fullmatch(atom.strip()) for atom in atoms]
    words = [match["word"] for match in matches if match is not None]
    unit = re.sub(r"\s|[{}]", "", text)
    if len(words) < len(atoms):
        return None
    if not all(is_atom(word, singular=singular or bool(joint) or place > 0) for place, word in enumerate(words)):
        return None
    return unit if says_unit or unit in _SPEEDS or any(len(word) > 1 for word in words) else None
