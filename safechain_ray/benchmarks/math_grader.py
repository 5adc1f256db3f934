"""Grades answers in mathematics: the final answer against the gold one, by form first, then by algebra.

Whether two answers are the same as written: what can be told of LaTeX without algebra.

The final answer of a response in mathematics, and the gold answer of a problem.

Whether two answers are mathematically equal, asked of a process that may hang and is then killed.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.math_intervals import same_set
from safechain_ray.benchmarks.math_quantities import same_quantity
from safechain_ray.benchmarks.math_units import SYMBOLS, is_unit
from safechain_ray.limited_process import WALL_SECONDS, AnswerError, LimitedProcess, LimitExceededError

PROCESSOR_SECONDS = 10

"""Processor time of one comparison. Those of MATH-500's gold answers take some milliseconds."""

MEMORY = 4 * 2**30

"""Bytes of address space. What sympy takes for an answer of a model is a small part of it."""

_WORKER = Path(__file__).with_name("math_worker.py")

_SAME_HASHES = {"PYTHONHASHSEED": "0"}

"""The order of sympy's terms, and so its answers, depend on the seed."""


class ComparisonError(Exception):
    """Two answers could not be compared; says why."""


class MathEquality:
    """Compares answers in one process beside this one, which is started by the first question, and again after it died.

    May be asked by many threads, each in its turn, and by processes forked from this one, which start their own.
    """

    def __init__(self, processor_seconds: int = PROCESSOR_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self.child = LimitedProcess(_WORKER, processor_seconds, MEMORY, wall_seconds, _SAME_HASHES)

    def equal(self, gold: str, answer: str) -> bool:
        """Whether `answer` equals `gold`, both LaTeX or plain. Raises ComparisonError, also where it took too long."""
        try:
            return bool(self.child.ask([gold, answer]))
        except LimitExceededError as error:
            raise ComparisonError(f"the comparison {error}") from error
        except AnswerError as error:
            raise ComparisonError(f"the comparison failed: {error}") from error

    def close(self) -> None:
        """Ends the process; the next question starts another one."""
        self.child.close()


LONGEST_ANSWER = 1_000

"""Characters of a final answer; a longer one is no answer to any of the benchmarks, and is not looked at."""

MOST_DENIALS = 50

"""Statements that are looked at from the last one back, where each is denied."""

NUMBER = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"

_BOXES_AND_BRACES = re.compile(r"\\{1,2}(?:boxed|fbox)\s*+\{|\\.|[{}]", re.DOTALL)

_BARE_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]+(?=[^\s{])")

_PHRASE = re.compile(r"\banswer\b[*_]*(?:\s++is\b|[ \t]*+:)[*_:]*+[ \t]*+(?=\S)", re.IGNORECASE)

_MARK = re.compile(r"####[ \t]*+(?=\S)")

_FORMULA = re.compile(r"\$\$?([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")

_LEADING_NUMBER = re.compile(rf"-?\\?\$?{NUMBER}(?=\s+[A-Za-z]{{2,}})")

_SENTENCE_END = re.compile(r"[.!;](?:\s.*)?$")

_NOT = r"(?:\bnot\b|n['’]t\b)(?:\s++(?:equal(?:\s++to)?|be|exactly|just|simply)\b)?"

_ANY_NUMBER = re.compile(rf"(?P<denied>{_NOT}[\s$*\\(]*+)?(?P<number>(?:(?<![\w)])-)?\$?{NUMBER})")

_DENIED = re.compile(rf"{_NOT}(?=[\s$*\\(+-]*+[0-9.$])", re.IGNORECASE)

"""A denied figure or formula. "Not enough information" is an answer."""

_INSTEAD = re.compile(
    r"(?:\b(?:it|this|that)(?:\s++is|['’]s)|\bbut(?:\s++rather)?|\brather|\binstead)\b[:,]?[ \t]*+(?=\S)", re.IGNORECASE
)

_AND_NOT = re.compile(r"(?:,|\band\b|\brather\b)\s*+(?:and\s++)?(?:not|than)\b.*$", re.IGNORECASE)


def final_answer(response: str) -> str | None:
    r"""The answer that a response ends with, None where there is none.

    That is what the last `\boxed{}` (or `\fbox{}`) holds. Without one: what follows the last "answer is" or "answer:"
    (Minerva, arXiv:2206.14858), else what follows the last `####` (GSM8K, arXiv:2110.14168), else the last number, as
    lm-evaluation-harness's flexible-extract of GSM8K takes it. The time taken grows with the length only.

    A denied answer is none: of "The answer is not 17. It is 18." the 17 is passed over, and what is said instead
    counts ("it is", "but"), else the statement before. A number right behind "not" is never the last number.
    """
    boxed = last_boxed(response)
    if boxed is not None:
        return boxed
    for mark in (_BARE_BOX, _PHRASE, _MARK):
        for match in reversed(deque(mark.finditer(response), MOST_DENIALS)):
            answer = _stated(response[match.end() : match.end() + LONGEST_ANSWER])
            if answer is not None:
                if answer:
                    return answer
                break
    numbers = [match["number"] for match in _ANY_NUMBER.finditer(response) if not match["denied"]]
    return numbers[-1] if numbers else None


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` that is closed and not empty holds, braces within it balanced."""
    opened: list[int | None] = []
    last_start, last = -1, None
    for token in _BOXES_AND_BRACES.finditer(text):
        if token[0] == "{":
            opened.append(None)
        elif token[0] == "}":
            start = opened.pop() if opened else None
            if start is not None and start > last_start and (content := text[start : token.start()].strip()):
                last_start, last = start, content
        elif "box" in token[0]:
            opened.append(token.end())
    return last


def gold_answer(text: str) -> str:
    """What follows the last `####`, as GSM8K writes its answers, else the text as it is."""
    return text.rpartition("####")[2].strip()


def _stated(text: str) -> str | None:
    """The answer at the start of the text, or what is said instead of one that is denied; None for a mere denial."""
    if not _DENIED.match(text):
        return _said(text)
    instead = [match.end() for match in _INSTEAD.finditer(text)]
    stated = [place for place in instead if not _DENIED.match(text, place)]
    return _said(text[stated[-1] :]) if stated else None


def _said(text: str) -> str:
    """The first formula of the line, else the number that it starts with, else the line up to its sentence's end."""
    line = text.partition("\n")[0].strip()
    formula = _FORMULA.search(line)
    if formula is not None:
        return next(group for group in formula.groups() if group is not None).strip()
    number = _LEADING_NUMBER.match(line)
    if number is not None:
        return number[0]
    sentence = _SENTENCE_END.sub("", line.strip("$*_ ")).strip("$*_ ")
    return _AND_NOT.sub("", sentence).strip("$*_ ") or sentence


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


@dataclass(frozen=True, slots=True)
class MathGrader:
    """Reads `gold` of a problem's reference: a number or LaTeX, after `####` if there is one.

    What no form decides is decided by math-verify (huggingface/Math-Verify), in a process of its own.
    """

    equality: MathEquality = field(default_factory=MathEquality)

    def grade(self, problem: Problem, answer: str) -> Grade:
        extracted = final_answer(answer)
        if extracted is None or len(extracted) > LONGEST_ANSWER:
            return Grade(correct=False, extracted=None)
        gold = gold_answer(str(problem.reference["gold"]))
        try:
            correct = _by_form(gold, extracted)
            if correct is None:
                correct = self.equality.equal(gold, extracted)
        except ComparisonError as error:
            return Grade(correct=None, extracted=extracted, error=str(error))
        return Grade(correct, extracted)


def _by_form(gold: str, answer: str) -> bool | None:
    """What the form of the two decides, None where it takes algebra."""
    for compare in (same_as_written, same_quantity, same_set):
        same = compare(gold, answer)
        if same is not None:
            return same
    # Algebra would read digits of other scripts as if they were ASCII.
    return False if any(character.isdecimal() and not character.isascii() for character in answer) else None


def build() -> Grader:
    return MathGrader()
