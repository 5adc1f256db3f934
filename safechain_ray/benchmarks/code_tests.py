"""Grader of contest problems in LiveCodeBench's format: programs that read and print, functions with JSON arguments."""

from dataclasses import dataclass, replace

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.contest_tests import ContestTest, ContestTests, difference, read_cases, read_tests
from safechain_ray.benchmarks.examination import Examination, grade_code
from safechain_ray.benchmarks.extraction import defines, extract_code
from safechain_ray.benchmarks.sandbox import MIB, Limits, Program, run_programs
from safechain_ray.errors import InputError

SECONDS_A_TEST = 6
"""As published (lcb_runner, `--timeout`), but of processor time: a busy machine does not make an answer wrong."""

LIMITS = Limits(processor_seconds=SECONDS_A_TEST, wall_seconds=60, memory=2048 * MIB)
"""AtCoder allows 1 GiB of memory in use; address space is more, of threads with deep stacks above all."""

# What the published checker runs before an answer, in its order (lcb_runner/evaluation/testing_util.py). Starter code
# relies on it: it says `List[int]` and imports nothing.
_MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
)
PREFACE = "\n".join(
    [
        *(f"from {module} import *" for module in (*_MODULES, "builtins", "typing")),
        f"import {', '.join(_MODULES)}",
        "sys.setrecursionlimit(50000)",
        "sys.set_int_max_str_digits(50000)",
        "random.seed(0)",  # not the checker's: the same answer gets the same grade
        "",
    ]
)

# Leaving early is fine, with any exit code: what was printed counts. An exception is not.
PROGRAM = """
try:
    exec(compile(GIVEN, "solution.py", "exec", dont_inherit=True), {"__name__": "__main__"})
except SystemExit:
    pass
"""

CALLS = """
for number, (arguments, expected) in enumerate(CASES, start=1):
    returned = FUNCTION(*arguments)
    returned = list(returned) if isinstance(returned, tuple) else returned
    assert returned == expected, f"test {number} of {len(CASES)} returned {returned!r:.60} instead of {expected!r:.60}"
"""


@dataclass(frozen=True, slots=True)
class CodeTests:
    """References are as `read_tests` wants them. The first test that fails ends it. `limits` are those of one test."""

    limits: Limits = LIMITS

    def grade(self, problem: Problem, answer: str) -> Grade:
        try:
            tests = read_tests(problem.reference)
            code = extract_code(answer, defining=tests.function)
            if code is None:
                return Grade(False)
            if tests.function is None:
                return self._grade_program(code, tests)
            return self._grade_function(code, tests, tests.function)
        except InputError as error:
            return Grade(None, error=str(error))

    def _grade_program(self, code: str, tests: ContestTests) -> Grade:
        for number, test in enumerate(tests.tests, start=1):
            fault = self._fault(code, test)
            if fault is not None:
                return Grade(False, code, f"test {number} of {len(tests.tests)}: {fault}")
        return Grade(True, code)

    def _fault(self, code: str, test: ContestTest) -> str | None:
        limits = replace(self.limits, output=2 * len(test.output) + MIB)
        given = PREFACE + code
        (ran,) = run_programs(Program(PROGRAM, test.input.encode(), limits, given))
        return ran.died_of or difference(ran.stdout, test.output)

    def _grade_function(self, code: str, tests: ContestTests, function: str) -> Grade:
        cases = read_cases(tests)
        owner = "Solution()." if defines(code, "Solution") else ""
        examination = Examination(
            tests=f"FUNCTION = {owner}{function}\n{CALLS}",
            given={"CASES": cases},
            call_seconds=self.limits.processor_seconds,
        )
        whole = replace(
            self.limits,
            processor_seconds=self.limits.processor_seconds * (len(cases) + 1),
            wall_seconds=self.limits.wall_seconds * (len(cases) + 1),
        )
        return grade_code(code, (PREFACE + code,), examination, whole)


def build() -> Grader:
    return CodeTests()
