"""Grader of contest problems as SkyThought grades LiveCodeBench (skythought/evals, tasks/livecodebench).

Known difference: SkyThought reads a function's arguments from text by rules of its own, which break on some strings;
here they are JSON. Its limit of seven seconds a test and five more is of all tests together; here it is one per test.
"""

import re
from dataclasses import dataclass, replace
from keyword import iskeyword

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.code_tests import LIMITS
from safechain_ray.benchmarks.contest_tests import SHOWN_CHARACTERS, ContestTest, ContestTests, read_cases, read_tests
from safechain_ray.benchmarks.examination import Examination, grade_code
from safechain_ray.benchmarks.sandbox import MIB, Limits, Program, run_programs
from safechain_ray.errors import InputError

_BLOCK = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)
_MAIN = '__name__ == "__main__"'

# The code has no name of its own unless it asks for one, and leaving early fails the test.
PROGRAM = """
try:
    exec(compile(GIVEN[1], "solution.py", "exec", dont_inherit=True), {"__name__": GIVEN[0]})
except SystemExit as end:
    raise RuntimeError("the code ended its process") from end
"""

CALLS = """
for number, (arguments, expected) in enumerate(CASES, start=1):
    returned = FUNCTION(*arguments)
    assert returned == expected, f"test {number} of {len(CASES)} returned {returned!r:.60} instead of {expected!r:.60}"
"""


@dataclass(frozen=True, slots=True)
class SkyThoughtTests:
    """References are as `read_tests` wants them. Only the private tests count, and the first that fails ends it."""

    limits: Limits = LIMITS

    def grade(self, problem: Problem, answer: str) -> Grade:
        """The grade of the last complete code block of `answer`, which is the whole response."""
        try:
            tests = read_tests(problem.reference, private_only=True)
            code = last_block(answer)
            if code is None:
                return Grade(False)
            if tests.function is None:
                return self._grade_program(code, tests)
            return self._grade_function(code, tests)
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
        name = "__main__" if _MAIN in code else "builtins"
        (ran,) = run_programs(Program(PROGRAM, test.input.encode(), limits, (name, code)))
        if ran.died_of:
            return ran.died_of
        wanted = _wanted(test.output)
        printed = ran.stdout.strip()
        if printed == wanted:
            return None
        return f"printed {printed[:SHOWN_CHARACTERS]!r} instead of {wanted[:SHOWN_CHARACTERS]!r}"

    def _grade_function(self, code: str, tests: ContestTests) -> Grade:
        function = first_function(code)
        if function is None:
            return Grade(False, code, "the code defines no function before its first bracket")
        cases = read_cases(tests)
        examination = Examination(
            tests=f"FUNCTION = {function}\n{CALLS}",
            wanted=(function,),
            given={"CASES": cases},
            call_seconds=self.limits.processor_seconds,
        )
        whole = replace(
            self.limits,
            processor_seconds=self.limits.processor_seconds * (len(cases) + 1),
            wall_seconds=self.limits.wall_seconds * (len(cases) + 1),
        )
        return grade_code(code, (code,), examination, whole)


def last_block(response: str) -> str | None:
    """The last code block that is opened and closed, None where there is none."""
    blocks = _BLOCK.findall(response)
    if not blocks:
        return None
    return str(blocks[-1]).split("</code>")[0].replace("<code>", "")


def first_function(code: str) -> str | None:
    """The word before the first bracket, which SkyThought takes for the function to call."""
    words = code.partition("(")[0].split()
    return words[-1] if words and words[-1].isidentifier() and not iskeyword(words[-1]) else None


def _wanted(output: str) -> str:
    """The expected text without a dash at its end, which SkyThought drops."""
    text = output.strip()
    return text[:-1].rstrip() if text.endswith("-") else text


def build() -> Grader:
    return SkyThoughtTests()
