"""Contest tests in the format of LiveCodeBench (arXiv:2403.07974), and its comparison of printed output."""

import base64
import json
import pickle
import pickletools
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from safechain_ray.errors import InputError

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
