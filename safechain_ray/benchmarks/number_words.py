"""English number words."""

import re

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_FROM_TWENTY = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES = {word: value for value, word in enumerate(_BELOW_TWENTY.split())}
_TENS = {word: 10 * value for value, word in enumerate(_FROM_TWENTY.split(), start=2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}

LONGEST_WORDS = 120
"""characters of a number that is looked at"""


def number_in_words(text: str) -> int | None:
    """The integer that the whole text names ("twenty-one", "two hundred and five"), None for any other text."""
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
