"""Grader of mathematical answers: extraction of the final answer, comparison by form, then by computer algebra.

Computer algebra (math-verify) may hang on an answer, so it runs in a child process with limits.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.math_intervals import same_set
from safechain_ray.benchmarks.math_quantities import SYMBOLS, is_unit, same_quantity
from safechain_ray.limited_process import WALL_SECONDS, AnswerError, LimitedProcess, LimitExceededError

PROCESSOR_SECONDS = 10
"""Processor time of one comparison. Comparisons with MATH-500's gold answers take some milliseconds."""

MEMORY = 4 * 2**30
"""Bytes of address space. sympy needs a small part of it for a typical answer."""

_WORKER = Path(__file__).with_name("math_worker.py")

_SAME_HASHES = {"PYTHONHASHSEED": "0"}
"""The order of sympy's terms, and therefore its results, depend on the hash seed."""

LONGEST_ANSWER = 1_000
"""Maximum characters of a final answer. A longer one is no answer to any of the benchmarks."""

MOST_DENIALS = 50
"""Maximum number of statements checked from the end, while each one is denied."""

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


class ComparisonError(Exception):
    """Two answers could not be compared. The text is the reason."""


class MathEquality:
    """Comparison in a child process, which is started by the first call, and again after it died.

    Thread-safe; calls are serialised. Forked processes start a child of their own.
    """

    def __init__(self, processor_seconds: int = PROCESSOR_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self.child = LimitedProcess(_WORKER, processor_seconds, MEMORY, wall_seconds, _SAME_HASHES)

    def equal(self, gold: str, answer: str) -> bool:
        """Whether `answer` equals `gold`, both LaTeX or plain. Raises ComparisonError, also on a timeout."""
        try:
            return bool(self.child.ask([gold, answer]))
        except LimitExceededError as error:
            raise ComparisonError(f"the comparison {error}") from error
        except AnswerError as error:
            raise ComparisonError(f"the comparison failed: {error}") from error

    def close(self) -> None:
        """End the child process; the next call starts another one."""
        self.child.close()


def final_answer(response: str) -> str | None:
    r"""The answer that a response ends with, None without one.

    This is the content of the last `\boxed{}` (or `\fbox{}`). Without a box it is the first of these that exists:

    1. the text after the last "answer is" or "answer:" (Minerva, arXiv:2206.14858)
    2. the text after the last `####` (GSM8K, arXiv:2110.14168)
    3. the last number, as in the flexible-extract filter of lm-evaluation-harness for GSM8K

    The running time is linear.

    A denied answer does not count: in "The answer is not 17. It is 18." the answer is the correction after the denial
    ("it is", "but"), else the statement before it. A number right after "not" is never the last number.
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
    r"""The content of the last closed, non-empty `\boxed{...}`, with balanced braces."""
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
    """The text after the last `####`, where GSM8K writes its answers, else the whole text."""
    return text.rpartition("####")[2].strip()


def _stated(text: str) -> str | None:
    """The answer at the start of the text, or the correction after a denial; None for a denial alone."""
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


def same_as_written(gold: str, answer: str) -> bool | None:
    """Whether `answer` is `gold` as written; None if only algebra can decide.

    Numbers in digits are compared exactly. Spaces, sizes of brackets, degrees, dollar signs, thousands separators and a
    unit in words after a number are ignored. Numbers with two different bases are different. For a gold `(C)` and an
    answer that begins with such a choice, the letters decide.
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
    """Sign, whole digits and decimal digits of a number written in digits; equal for equal numbers of any length."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    whole, _, decimals = text.lstrip("+-").replace(",", "").replace(" ", "").partition(".")
    whole, decimals = whole.lstrip("0"), decimals.rstrip("0")
    return ("-" if match[1] == "-" and (whole or decimals) else "", whole, decimals)


@dataclass(frozen=True, slots=True)
class MathGrader:
    """Reads `gold` of a problem's reference: a number or LaTeX, after `####` if there is one.

    If no form decides, math-verify (huggingface/Math-Verify) does, in a child process.
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
    """The comparison by form; None if only algebra can decide."""
    for compare in (same_as_written, same_quantity, same_set):
        same = compare(gold, answer)
        if same is not None:
            return same
    # Algebra would parse digits of other scripts like ASCII digits.
    return False if any(character.isdecimal() and not character.isascii() for character in answer) else None


def build() -> Grader:
    return MathGrader()
