"""Grader of a function against a list of assertions that call it (MBPP, arXiv:2108.07732)."""

import builtins
import re
from dataclasses import dataclass

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.evalplus_code import sanitizing_program
from safechain_ray.benchmarks.examination import Examination, grade_code
from safechain_ray.benchmarks.extraction import extract_code
from safechain_ray.benchmarks.sandbox import Limits

LIMITS = Limits(processor_seconds=20, wall_seconds=120)


@dataclass(frozen=True, slots=True)
class CodeAsserts:
    """References have `test_list`, and may have `test_setup_code` and `test_imports`, as MBPP's rows.

    Set-up may use what the answer defines. What the assertions use beside that is of the standard library. With
    `evalplus` the answer is what was generated behind an opened code block.
    """

    limits: Limits = LIMITS
    evalplus: bool = False

    def grade(self, problem: Problem, answer: str) -> Grade:
        reference = problem.reference
        function = _function_of(str(reference["test_list"][0]))
        code = (answer if answer.strip() else None) if self.evalplus else extract_code(answer, defining=function)
        if code is None:
            return Grade(False)
        program = sanitizing_program(code, function) if self.evalplus else code
        parts = (*reference.get("test_imports", ()), reference.get("test_setup_code", ""), *reference["test_list"])
        return grade_code(code, (program,), Examination(tests="\n".join(map(str, parts))), self.limits)


def _function_of(test: str) -> str | None:
    """The first function that it calls by name and that is none of Python's own."""
    return next(
        (name for name in re.findall(r"(?<![\w.])([A-Za-z_]\w*)\s*\(", test) if name not in dir(builtins)), None
    )


def build() -> Grader:
    return CodeAsserts()


def build_evalplus() -> Grader:
    return CodeAsserts(evalplus=True)
