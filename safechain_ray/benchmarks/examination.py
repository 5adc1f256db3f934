"""Grading of code by hidden tests: tests and code run in two sandboxes and exchange values over pipes.

Contest tests are read in the format of LiveCodeBench (arXiv:2403.07974), and printed output is compared as there.
"""

import base64
import json
import os
import pickle
import pickletools
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from importlib.resources import files
from types import CodeType
from typing import Any

from safechain_ray.benchmarks.base import Grade
from safechain_ray.benchmarks.conversation import CODE_GONE, FAILED, PASSED, TESTS_BROKEN
from safechain_ray.benchmarks.sandbox import Limits, Program, Ran, require_sandbox, run_programs
from safechain_ray.errors import InputError, SandboxError

CHECKING = Limits()
"""Limits of the tests' process."""


@dataclass(frozen=True, slots=True)
class Examination:
    """Tests for one problem as Python source. Only the tests call the code."""

    tests: str
    before: str = ""
    """trusted set-up code, run first in the tests' process"""
    wanted: Sequence[str] = ()
    """names taken from the code under test, even if `before` defines them"""
    given: Mapping[str, Any] = field(default_factory=dict)
    """values of further names of the tests"""
    call_seconds: int | None = None
    """processor time of each call of the code"""


def grade_code(extracted: str, programs: Sequence[str], examination: Examination, limits: Limits) -> Grade:
    """The grade of the first of `programs` that compiles, run under `limits`.

    `correct` is None if no sandbox works, or the tests themselves do not compile.
    """
    try:
        tested, candidate = _examine(programs, examination, limits)
    except SandboxError as error:
        return Grade(None, extracted, str(error))
    fault = candidate.died_of
    if candidate.ended_by == "processor time" and examination.call_seconds is not None:
        fault = f"a call used more than {examination.call_seconds} s of processor time"
    return _grade(extracted, tested, fault)


def _examine(programs: Sequence[str], examination: Examination, limits: Limits) -> tuple[Ran, Ran]:
    """The results of the tests' process and of the code's process. Raises SandboxError."""
    require_sandbox()  # before any pipe is opened
    asked, asks = os.pipe()
    answered, answers = os.pipe()
    examiner = {
        "wires": (answered, asks),
        "before": examination.before,
        "tests": examination.tests,
        "wanted": list(examination.wanted),
        "given": dict(examination.given),
    }
    examined = {"wires": (asked, answers), "programs": list(programs), "call_seconds": examination.call_seconds}
    # The tests' process waits for the code, so it gets more time. It may compute as much as the code.
    ours = replace(
        CHECKING,
        processor_seconds=limits.processor_seconds + CHECKING.processor_seconds,
        wall_seconds=limits.wall_seconds + CHECKING.wall_seconds,
    )
    tested, candidate = run_programs(
        Program(_conversation(), limits=ours, given=examiner, wires=(answered, asks)),
        Program(_conversation(), limits=limits, given=examined, wires=(asked, answers)),
    )
    return tested, candidate


def _grade(extracted: str, tested: Ran, fault: str | None) -> Grade:
    message = tested.stderr.strip()[-1000:]
    ending = tested.exit_code if tested.ended_by == "exit" else None
    if ending == PASSED:
        return Grade(True, extracted)
    if ending == FAILED:
        return Grade(False, extracted, message)
    if ending == CODE_GONE:
        return Grade(False, extracted, fault or "the code ended before its tests did")
    if ending == TESTS_BROKEN:
        return Grade(None, extracted, f"the tests of this problem can't be run: {message}")
    # A value of the code may crash the tests' process, for example an endless one.
    return Grade(False, extracted, f"the tests could not be finished: {tested.died_of}")


@cache
def _conversation() -> CodeType:
    source = files(__package__).joinpath("conversation.py").read_text(encoding="utf-8")
    return compile(f"{source}\nmain(GIVEN)\n", "conversation.py", "exec", dont_inherit=True)


SHOWN_CHARACTERS = 60

LONGEST_TESTS = 2**30
"""Limit on the unpacked private tests of one problem, in bytes."""

_WHITE_SPACE = re.compile(r"[ \t\r\f\v]+")

_NUMBER = re.compile(
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]{1,6})?|inf(?:inity)?)", re.IGNORECASE | re.ASCII
)

READING_ERRORS = (
    *(ValueError, TypeError, KeyError, AttributeError, zlib.error, pickle.UnpicklingError, EOFError),
    *(RecursionError, OverflowError),
)

OPCODES_OF_A_TEXT = {
    *("PROTO", "FRAME", "STOP", "MEMOIZE", "BINPUT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
"""Opcodes of `pickletools` in the pickle of a text."""


@dataclass(frozen=True, slots=True)
class ContestTest:
    """Standard input and output; or, for a function, one JSON value per line as arguments, and one as the result."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class ContestTests:
    """The public tests (if requested), then the private ones.

    `function` is the function to call, None for programs that read and print.
    """

    tests: tuple[ContestTest, ...]
    function: str | None


def read_tests(reference: Mapping[str, Any], private_only: bool = False) -> ContestTests:
    """Read the columns `public_test_cases`, `private_test_cases` and `metadata` of a row. Raises InputError."""
    try:
        public = json.loads(reference["public_test_cases"])
        private = _private(reference["private_test_cases"])
        given = private if private_only else [*public, *private]
        tests = tuple(ContestTest(str(each["input"]), str(each["output"])) for each in given)
        function = json.loads(reference["metadata"] or "{}").get("func_name")
    except READING_ERRORS as error:
        raise InputError(
            f"The tests of this problem can't be read ({type(error).__name__}: {error}). Fix: give them in "
            "LiveCodeBench's format: public_test_cases, private_test_cases and metadata, each of them JSON in a text."
        ) from error
    if not tests:
        raise InputError("This problem has no tests, so no answer to it can be graded. Fix: remove it.")
    return ContestTests(tests, function)


def read_cases(tests: ContestTests) -> list[tuple[list[Any], Any]]:
    """(arguments, expected result) of each test of a function. Raises InputError for tests that are not JSON."""
    try:
        return [
            ([json.loads(line) for line in test.input.split("\n")], json.loads(test.output)) for test in tests.tests
        ]
    except ValueError as error:
        raise InputError(
            f"The tests of this problem are no JSON: {error}. Fix: remove the problem, or correct its tests."
        ) from error


def _private(text: str) -> list[dict[str, str]]:
    """Tests as JSON, or as base64 of a zlib-compressed pickle of JSON: the published files contain both."""
    try:
        return list(json.loads(text))
    except ValueError:
        packed = _unpacked(base64.b64decode(text, validate=True))
        return list(json.loads(_pickled_text(packed)))


def _unpacked(data: bytes) -> bytes:
    """Raises ValueError for tests larger than any published ones, zlib.error for broken data."""
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(data, LONGEST_TESTS)
    if unpacking.unconsumed_tail:
        raise ValueError(f"they unpack to more than {LONGEST_TESTS / 2**20:.0f} MiB")
    if not unpacking.eof:
        raise zlib.error("incomplete or truncated stream")
    return found


def _pickled_text(data: bytes) -> str:
    """The text in a pickle, read without unpickling: a pickle may run code that it names, or fill memory.

    Raises UnpicklingError for any other pickle.
    """
    texts = []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in OPCODES_OF_A_TEXT:
            raise pickle.UnpicklingError(f"the pickle holds {opcode.name}; a text needs nothing like it")
        texts += [argument] if isinstance(argument, str) else []
    if len(texts) != 1:
        raise pickle.UnpicklingError(f"a pickle of {len(texts)} texts, not of one")
    return texts[0]


def difference(printed: str, expected: str) -> str | None:
    """The first difference between printed and expected output; None if they count as equal.

    The rules are those of LiveCodeBench's checker (lcb_runner/evaluation/testing_util.py). White space around the
    output and around each line is ignored. The number of lines must be equal. Lines are equal as text, or number by
    number as decimal numbers.

    One rule is stricter than that checker: numbers must be ASCII. Python's own parser reads underscores (`1_0`),
    full-width digits and those of every script, which a contest's checker does not.
    """
    lines, wanted = ([line.strip() for line in text.strip().split("\n")] for text in (printed, expected))
    if len(lines) != len(wanted):
        return f"{len(lines)} lines instead of {len(wanted)}"
    for number, (line, right) in enumerate(zip(lines, wanted, strict=True), start=1):
        if line != right and not _same_numbers(line, right):
            return f"line {number} is {line[:SHOWN_CHARACTERS]!r} instead of {right[:SHOWN_CHARACTERS]!r}"
    return None


def _same_numbers(line: str, right: str) -> bool:
    words, wanted = (_WHITE_SPACE.split(text) for text in (line, right))
    if len(words) != len(wanted) or not all(map(_NUMBER.fullmatch, (*words, *wanted))):
        return False
    return list(map(Decimal, words)) == list(map(Decimal, wanted))
