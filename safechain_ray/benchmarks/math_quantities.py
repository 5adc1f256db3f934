"""Parser and comparison of numbers as people write them: mixed numbers, English number words, figures with units.

Some words after a number are units, and some change the number. An earlier rule accepted every unknown word as a unit.
It graded `18 millions` and `18 thousandths` as 18. The rules are:

1. A phrase with a refused word is no unit. Refused words are numbers, multipliers, ordinals, fractions, percentages,
   Greek letters and words of mathematics.
2. Any other phrase needs a known unit ("km", "dollar", "hour") or a plural noun of counted things ("apples").
3. After a number of at most 1, a singular noun is enough: "1 apple", "1/2 pizza".

Known trade-off: the coins in "18 quarters" and the objects in "18 scores" are refused, since both words change a
number.

Example:
    is_unit("miles per hour") is True
    is_unit("dozen eggs") is False
"""

import re
from dataclasses import dataclass
from fractions import Fraction

_IRREGULAR_PLURAL = re.compile(r"[a-z]*(?:men|people|children|fish|feet|teeth|geese|mice|sheep|deer)")

_PLURAL = re.compile(r"[a-z]{2,}[a-rt-z]s")

_ORDINAL = re.compile(
    r"firsts?|(?:n|four|fif|six|seven|eigh|nin|ten|eleven|twelf|dozen|hundred|thousand)ths?"
    r"|(?:[a-z]+teen|[a-z]+tie|[a-z]*illion)ths?"
)

_MULTIPLE = re.compile(r"[a-z]*illions?")

_POWERED = re.compile(
    r"\b((?:milli|centi|deci|kilo)?met(?:er|re)s?|inch(?:es)?|foot|feet|yards?|miles?|seconds?|[mck]m|ft) "
    r"(?:squared|cubed)\b",
    re.IGNORECASE,
)

_PHRASE = re.compile(r"[A-Za-z]{2,}\.?(?: (?:a|[A-Za-z]{2,}\.?)|-[A-Za-z]{3,})*")

_SHORTEST_WORD = 4
"""Minimum letters of an unlisted unit in a compound one. Shorter words may be products of variables."""

_SHORTEST_NOUN = 3


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


SYMBOLS = _listed(
    "mm cm dm km m in ft yd mi s sec min h hr hrs g kg mg lb lbs oz L ml mL cl dl gal qt N J W kW V A Pa kPa Hz kHz "
    "mol rad deg day man men"
)
"""Parts of compound units such as km/h. Case-sensitive."""

_KNOWN = _listed(
    # length, area, volume
    "millimeter millimetre centimeter centimetre decimeter meter metre kilometer kilometre inch foot feet yard mile "
    "acre hectare liter litre milliliter millilitre gallon quart pint cup teaspoon tablespoon tsp tbsp "
    "mm cm dm km ft yd mi in sqft ml cl dl gal qt pt sq cu "
    # mass, time, speed, temperature, angle
    "gram kilogram milligram kilo ton tonne pound ounce kg kgs mg lb lbs oz "
    "second minute hour day week month year decade century sec secs min mins hr hrs yr yrs ms am pm "
    "mph kph kmh fps rpm degree celsius fahrenheit kelvin radian deg rad "
    # money, data, physics
    "dollar cent penny pence euro pound yen yuan rupee peso franc usd eur gbp inr cad aud "
    "bit byte kb mb gb tb watt kilowatt kw kwh mw volt amp joule newton pascal pa kpa hertz hz khz mhz ghz "
    "calorie kcal mol mole "
    # counts
    "people person men women children feet teeth mice geese oxen dice fish sheep deer shrimp fruit "
    "unit piece point page tvs cds dvds pcs total altogether overall each apiece left remaining extra old"
)

_SHORT_WORDS = _listed("a an at by in my of on")

_MULTIPLIERS = _listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion "
    "trillion quadrillion quintillion zillion googol myriad mil mill mln mio bn tn lakh lac crore dozen "
    "gross half halve third double triple quadruple twofold threefold mega giga tera milli micro nano"
)

_AMBIGUOUS = _listed("quarter score grand")
"""Multipliers that are nouns too: neither a unit nor evidence of another number."""

_GREEK = _listed(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi "
    "psi omega"
)

_MATHEMATICS = _listed(
    "or plus minus times over point mod modulo modulus choose factorial root surd squared cubed power exponent "
    "reciprocal conjugate transpose twice thrice doubled tripled halved divided multiplied fold sqrt frac "
    "sin cos tan cot sec csc log ln exp sine cosine tangent cotangent secant cosecant logarithm arcsin arccos arctan "
    "sinh cosh tanh infty infinity recurring repeating"
)

_ADJECTIVES = _listed("negative positive inverse opposite prime absolute multiple infinite imaginary")
"""Words of mathematics that are refused unless a noun follows: "18 positive integers"."""

_PERCENT = _listed("percent pct percentage percentile permille permil permyriad ppm ppb basis")

_SENTENCE = _listed(
    "and to not if when where for unless more less than is are was were has have does this that thus its equal "
    "equals axis always sometimes perhaps maybe about approx approximately undefined wrong false true none"
)


def is_unit(text: str, *, singular: bool = False) -> bool:
    """Whether the whole text is a unit in words. `singular` is true after a number of at most 1."""
    text = _POWERED.sub(r"\1", text.strip())
    if _PHRASE.fullmatch(text) is None or re.search(r"\bper cent\b", text, re.IGNORECASE):
        return False
    words = re.findall(r"[a-z]+", text.lower())
    if _is_plural(words[-1]):
        words = [word for word in words if word not in _ADJECTIVES]
    if any(_is_refused(word) or (len(word) < _SHORTEST_NOUN and not _is_short(word)) for word in words):
        return False
    return any(_is_known(word) or (singular and len(word) >= _SHORTEST_NOUN) for word in words)


def is_atom(word: str, *, singular: bool = False) -> bool:
    """Whether the word is a unit in a compound one. `singular` is also true after "/" and "per"."""
    if word in SYMBOLS:
        return True
    lower = word.lower()
    return len(word) >= _SHORTEST_WORD and not _is_refused(lower) and (singular or _is_known(lower))


def changes_number(text: str) -> bool:
    """Whether a phrase after a number changes it: "million", "thousandths of a mile", "pi"."""
    word = re.match(r"[a-z]*", text.lower())
    return word is not None and _is_multiplier(word[0]) and not is_unit(text)


def _is_multiplier(word: str) -> bool:
    if _ORDINAL.fullmatch(word) or _MULTIPLE.fullmatch(word) or word in _MATHEMATICS | _ADJECTIVES:
        return True
    return not (_MULTIPLIERS | _GREEK).isdisjoint(_singular(word))


def _is_refused(word: str) -> bool:
    return _is_multiplier(word) or word in _SENTENCE or not (_PERCENT | _AMBIGUOUS).isdisjoint(_singular(word))


def _is_known(word: str) -> bool:
    return word in _KNOWN or _is_plural(word)


def _is_plural(word: str) -> bool:
    return bool(_PLURAL.fullmatch(word) or _IRREGULAR_PLURAL.fullmatch(word))


def _is_short(word: str) -> bool:
    return word in _SHORT_WORDS or word in _KNOWN


def _singular(word: str) -> set[str]:
    """The word, and its possible singular forms."""
    found = {word, word.removesuffix("s")}
    if word.endswith(("sses", "xes", "oes")):
        found.add(word[:-2])
    if word.endswith("ies"):
        found.add(word[:-3] + "y")
    if word.endswith("ves"):
        found.add(word[:-3] + "f")
    return found


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
