"""Grading of code by hidden tests: tests and code run in two sandboxes and exchange values over pipes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from types import CodeType
from typing import Any

from safechain_ray.benchmarks.base import Grade
from safechain_ray.benchmarks.conversation import CODE_GONE, FAILED, PASSED, TESTS_BROKEN
from safechain_ray.benchmarks.sandbox import Limits, Program, Ran, require_sandbox, run_programs
from safechain_ray.errors import SandboxError

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
