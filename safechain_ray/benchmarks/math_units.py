"""Units after a number: which words are units, and which words change the number.

An earlier rule accepted every unknown word as a unit. It graded `18 millions` and `18 thousandths` as 18. The rules
are:

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
