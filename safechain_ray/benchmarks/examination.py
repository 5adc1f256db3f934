"""Whether code passes tests that it can't see: both sides of a conversation in their sandboxes, and what came of it."""

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
"""of the tests"""


@dataclass(frozen=True, slots=True)
class Examination:
    """Tests for one problem, as Python. The code is called by them, and by nothing else."""

    tests: str
    before: str = ""
    """runs first, on the side of the tests: set-up that is trusted as the tests are"""
    wanted: Sequence[str] = ()
    """names that the tests have from the code, even where `before` binds them"""
    given: Mapping[str, Any] = field(default_factory=dict)
    """values of names of the tests"""
    call_seconds: int | None = None
    """of processor time that each call of the code may take"""


def grade_code(extracted: str, programs: Sequence[str], examination: Examination, limits: Limits) -> Grade:
    """The grade of the first of `programs` that is Python, which runs under `limits`.

    `correct` is None where no sandbox works, or the tests themselves are no Python.
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
    """What became of the tests, and of the code. Raises SandboxError."""
    require_sandbox()  # before there are pipes to close
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
    # The examiner waits for the code, so it gets longer; it may have as much to compute as the code.
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
    said = tested.stderr.strip()[-1000:]
    ending = tested.exit_code if tested.ended_by == "exit" else None
    if ending == PASSED:
        return Grade(True, extracted)
    if ending == FAILED:
        return Grade(False, extracted, said)
    if ending == CODE_GONE:
        return Grade(False, extracted, fault or "the code ended before its tests did")
    if ending == TESTS_BROKEN:
        return Grade(None, extracted, f"the tests of this problem can't be run: {said}")
    # An examiner dies of what the code has answered: of a value that has no end, say.
    return Grade(False, extracted, f"the tests could not be finished: {tested.died_of}")


@cache
def _conversation() -> CodeType:
    source = files(__package__).joinpath("conversation.py").read_text(encoding="utf-8")
    return compile(f"{source}\nmain(GIVEN)\n", "conversation.py", "exec", dont_inherit=True)
