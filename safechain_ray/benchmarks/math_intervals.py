"""Exact comparison of sets of real numbers with numeric bounds: inequalities and unions of intervals."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

Bound = Fraction | float
"""An infinite bound is a float."""

INFINITE = float("inf")

_DROPPED = re.compile(r"\\left\b|\\right\b|\\displaystyle\b|\\[!,;: ]|\\q?quad\b|\\?\$|~")
_WORDS = re.compile(r"\\(?:text|mbox|mathrm|textrm)\s?\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{([0-9]+)\}\s?\{([0-9]+)\}|([0-9])([0-9]))")
_MEMBER_OF = re.compile(r"[a-z]\s*(?:\\in\b|∈)")

_NUMBER = r"[-+]?(?:[0-9]+(?:/[0-9]+|\.[0-9]+)?|\.[0-9]+)"
_ENDLESS = r"[-+]?(?:\\infty|∞|infinity|oo\b|inf\b)"
_INTERVAL = re.compile(rf"([(\[])\s*({_NUMBER}|{_ENDLESS})\s*,\s*({_NUMBER}|{_ENDLESS})\s*([)\]])")
_RELATION = r"(<=|>=|<|>|!=)"
_CHAIN = re.compile(
    rf"(?:(?P<left>{_NUMBER})\s*(?P<first>{_RELATION})\s*)?(?P<name>[a-z])(?:\s*(?P<second>{_RELATION})\s*(?P<right>{_NUMBER}))?"
)
_RELATIONS = (
    (re.compile(r"\\leqslant\b|\\leq\b|\\le\b|≤|⩽|=<"), "<="),
    (re.compile(r"\\geqslant\b|\\geq\b|\\ge\b|≥|⩾|=>"), ">="),
    (re.compile(r"\\lt\b"), "<"),
    (re.compile(r"\\gt\b"), ">"),
    (re.compile(r"\\neq\b|\\ne\b|≠"), "!="),
)
_OR = re.compile(r"\\cup\b|∪|\bor\b|\\lor\b|\\vee\b|(?<=[)\]])\s*U\s*(?=[(\[])")
_AND = re.compile(r"\\cap\b|∩|\band\b|\\land\b|\\wedge\b")
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}

LONGEST_TEXT = 300


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Numbers from `low` to `high`. An open bound is not part of the interval."""

    low: Bound
    low_open: bool
    high: Bound
    high_open: bool

    @property
    def is_empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))


EVERYTHING = (Interval(-INFINITE, True, INFINITE, True),)

Union = tuple[Interval, ...]
"""Non-empty intervals in ascending order with gaps between them."""


@dataclass(frozen=True, slots=True)
class RealSet:
    """A set of real numbers. `name` is the variable it describes, "" without one.

    `may_be_point` is true of a bare open interval with finite bounds: `(1,2)` may also be a point of the plane.
    """

    union: Union
    name: str = ""
    may_be_point: bool = False


def same_set(gold: str, answer: str) -> bool | None:
    """Whether both are the same set of real numbers.

    None for:

    - a side that is no such set, or has another variable,
    - a bound that is a decimal number and may be rounded,
    - two equal sets, if only one may be a point: a gold point `(1,2)` accepted the answer `1 < x < 2`.
    """
    first, second = real_set(gold), real_set(answer)
    if first is None or second is None or (first.name and second.name and first.name != second.name):
        return None
    if first.union == second.union:
        return True if first.may_be_point == second.may_be_point else None
    return None if "." in gold + answer and not _AND.search(gold + answer) else False


def real_set(text: str) -> RealSet | None:
    """The set that the whole text describes by inequalities or intervals; None for any other text."""
    if len(text) > LONGEST_TEXT:
        return None
    text = _spelled_out(text)
    alternatives = [[_atom(part.strip()) for part in _AND.split(side)] for side in _OR.split(text)]
    atoms = [atom for side in alternatives for atom in side]
    found = [atom for atom in atoms if atom is not None]
    names = {atom.name for atom in found if atom.name}
    if len(found) < len(atoms) or len(names) > 1:
        return None
    sides = [_intersection([atom.union for atom in side if atom is not None]) for side in alternatives]
    may_be_point = len(atoms) == 1 and found[0].may_be_point
    return RealSet(united(interval for side in sides for interval in side), "".join(names), may_be_point)


def united(intervals: Iterable[Interval]) -> Union:
    """The union of the intervals."""
    result: list[Interval] = []
    for each in sorted(interval for interval in intervals if not interval.is_empty):
        last = result[-1] if result else None
        if last is None or each.low > last.high or (each.low == last.high and each.low_open and last.high_open):
            result.append(each)
            continue
        # At an equal bound the closed interval extends further.
        high, is_closed = max((last.high, not last.high_open), (each.high, not each.high_open))
        result[-1] = Interval(last.low, last.low_open, high, not is_closed)
    return tuple(result)


def _intersection(unions: list[Union]) -> Union:
    common = unions[0]
    for union in unions[1:]:
        common = united(_overlap(one, other) for one in common for other in union)
    return common


def _overlap(one: Interval, other: Interval) -> Interval:
    low, low_open = max((one.low, one.low_open), (other.low, other.low_open))
    high, is_closed = min((one.high, not one.high_open), (other.high, not other.high_open))
    return Interval(low, low_open, high, not is_closed)


def _spelled_out(text: str) -> str:
    text = _WORDS.sub(r" \1 ", _DROPPED.sub(" ", text))
    text = _FRACTION.sub(lambda found: f"{found[1] or found[3]}/{found[2] or found[4]}", text)
    for written, sign in _RELATIONS:
        text = written.sub(sign, text)
    return " ".join(text.split()).removesuffix(".")


def _atom(text: str) -> RealSet | None:
    """One interval or one chain of inequalities."""
    member = _MEMBER_OF.match(text)
    interval = _INTERVAL.fullmatch(text[member.end() :].strip() if member else text)
    if interval is not None:
        low, high = _bound(interval[2]), _bound(interval[3])
        closed_at_infinity = (interval[1] == "[" and low in (INFINITE, -INFINITE)) or (
            interval[4] == "]" and high in (INFINITE, -INFINITE)
        )
        if low is None or high is None or low >= high or closed_at_infinity:
            return None
        union = (Interval(low, interval[1] == "(", high, interval[4] == ")"),)
        is_bare = member is None and interval[1] + interval[4] == "()" and low > -INFINITE and high < INFINITE
        return RealSet(union, text[0] if member else "", may_be_point=is_bare)
    chain = _CHAIN.fullmatch(text)
    if chain is None or not (chain["first"] or chain["second"]):
        return None
    parts = []
    for relation, number in ((_MIRRORED.get(chain["first"] or ""), chain["left"]), (chain["second"], chain["right"])):
        if relation is not None:
            bound = _bound(number)
            if bound is None:
                return None
            parts.append(_beyond(relation, bound))
    return RealSet(_intersection(parts), chain["name"])


def _beyond(relation: str, bound: Bound) -> Union:
    below = Interval(-INFINITE, True, bound, relation != "<=")
    above = Interval(bound, relation != ">=", INFINITE, True)
    return {"<": (below,), "<=": (below,), ">": (above,), ">=": (above,), "!=": (below, above)}[relation]


def _bound(text: str) -> Bound | None:
    """The bound as a number; None for a division by zero."""
    if re.fullmatch(_ENDLESS, text):
        return -INFINITE if text.startswith("-") else INFINITE
    try:
        return Fraction(text)
    except ZeroDivisionError:
        return None
