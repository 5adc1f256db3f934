"""The final answer of a response in mathematics, and the gold answer of a problem."""

import re
from collections import deque

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
