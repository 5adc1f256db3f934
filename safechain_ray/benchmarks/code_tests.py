"""Graders of code by tests: LiveCodeBench contests, HumanEval completions, MBPP assertions, and SkyThought's variant.

- `CodeTests`: contest programs that read and print, and functions with JSON arguments (LiveCodeBench).
- `CodeAsserts`: a function against a list of assertions that call it (MBPP, arXiv:2108.07732).
- `CodeCompletion`: a function to complete, against the problem's `check(candidate)` (HumanEval, arXiv:2107.03374).
- `SkyThoughtTests`: contest problems as SkyThought grades LiveCodeBench (skythought/evals, tasks/livecodebench).

Known differences from SkyThought: it parses a function's arguments with rules of its own, which fail on some strings;
here they are JSON. Its limit of seven seconds per test and five more covers all tests together; here it is per test.
"""

import builtins
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from keyword import iskeyword
from textwrap import indent

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.evalplus_code import sanitizing_program
from safechain_ray.benchmarks.examination import (
    SHOWN_CHARACTERS,
    ContestTest,
    ContestTests,
    Examination,
    difference,
    grade_code,
    read_cases,
    read_tests,
)
from safechain_ray.benchmarks.extraction import defines, extract_code
from safechain_ray.benchmarks.sandbox import MIB, Limits, Program, run_programs
from safechain_ray.errors import InputError

SECONDS_A_TEST = 6
"""As published (lcb_runner, `--timeout`), but in processor time: a busy machine must not make an answer wrong."""

LIMITS = Limits(processor_seconds=SECONDS_A_TEST, wall_seconds=60, memory=2048 * MIB)
"""AtCoder allows 1 GiB of used memory. Address space is larger, mainly for threads with deep stacks."""

# Modules that the published checker imports before an answer, in its order (lcb_runner/evaluation/testing_util.py).
# Starter code relies on them: it uses `List[int]` and imports nothing.
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
        "random.seed(0)",  # not in the checker: equal answers must get equal grades
        "",
    ]
)

# An early exit is allowed with any exit code, because only the output counts. An exception is not.
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

CALL_LIMITS = Limits(processor_seconds=20, wall_seconds=120)

_BLOCK = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)

_MAIN = '__name__ == "__main__"'

# The code gets the name "__main__" only if it uses it, and an early exit fails the test.
SKYTHOUGHT_PROGRAM = """
try:
    exec(compile(GIVEN[1], "solution.py", "exec", dont_inherit=True), {"__name__": GIVEN[0]})
except SystemExit as end:
    raise RuntimeError("the code ended its process") from end
"""

SKYTHOUGHT_CALLS = """
for number, (arguments, expected) in enumerate(CASES, start=1):
    returned = FUNCTION(*arguments)
    assert returned == expected, f"test {number} of {len(CASES)} returned {returned!r:.60} instead of {expected!r:.60}"
"""


def _grade_program(code: str, tests: ContestTests, fault_of: Callable[[str, ContestTest], str | None]) -> Grade:
    """The grade of a program that reads its input. `fault_of` runs one test and returns why it failed, or None."""
    for number, test in enumerate(tests.tests, start=1):
        fault = fault_of(code, test)
        if fault is not None:
            return Grade(False, code, f"test {number} of {len(tests.tests)}: {fault}")
    return Grade(True, code)


@dataclass(frozen=True, slots=True)
class CodeTests:
    """References are as in `read_tests`. Grading stops at the first failed test. `limits` are those of one test."""

    limits: Limits = LIMITS

    def grade(self, problem: Problem, answer: str) -> Grade:
        try:
            tests = read_tests(problem.reference)
            code = extract_code(answer, defining=tests.function)
            if code is None:
                return Grade(False)
            if tests.function is None:
                return _grade_program(code, tests, self._fault)
            return self._grade_function(code, tests, tests.function)
        except InputError as error:
            return Grade(None, error=str(error))

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


@dataclass(frozen=True, slots=True)
class CodeAsserts:
    """References have `test_list`, and may have `test_setup_code` and `test_imports`, as MBPP's rows.

    Set-up code may use definitions of the answer. Other names in the assertions are from the standard library. With
    `evalplus` the answer is the text generated after an opened code block.
    """

    limits: Limits = CALL_LIMITS
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
    """The first function called by name that is no builtin."""
    return next(
        (name for name in re.findall(r"(?<![\w.])([A-Za-z_]\w*)\s*\(", test) if name not in dir(builtins)), None
    )


def build_asserts() -> Grader:
    return CodeAsserts()


def build_asserts_evalplus() -> Grader:
    return CodeAsserts(evalplus=True)


@dataclass(frozen=True, slots=True)
class CodeCompletion:
    """References have `prompt` (code up to the missing body), `entry_point` and `test`, as HumanEval's rows.

    With `evalplus` the answer is the text generated after an opened code block. It has to be complete: imports and
    definitions of the prompt are not available to it.
    """

    limits: Limits = CALL_LIMITS
    evalplus: bool = False

    def grade(self, problem: Problem, answer: str) -> Grade:
        prompt, entry_point = str(problem.reference["prompt"]), str(problem.reference["entry_point"])
        code = (answer if answer.strip() else None) if self.evalplus else extract_code(answer, defining=entry_point)
        if code is None:
            return Grade(False)
        programs = (sanitizing_program(code, entry_point),) if self.evalplus else completions(prompt, entry_point, code)
        # Other definitions are taken from the prompt, not from the answer.
        examination = Examination(
            tests=f"{problem.reference['test']}\ncheck({entry_point})\n", before=prompt, wanted=(entry_point,)
        )
        return grade_code(code, programs, examination, self.limits)


def completions(prompt: str, entry_point: str, code: str) -> tuple[str, ...]:
    """Candidate programs for an answer, the likeliest first. The first one that compiles is used.

    An answer that defines the function may rely on imports and definitions of the prompt. Any other answer continues
    the prompt, and may have lost the indentation of its first line or of all lines.
    """
    if defines(code, entry_point):
        return (f"{prompt}\n\n{code}", code)
    return (f"{prompt}{code}", f"{prompt}    {code}", f"{prompt}{indent(code, '    ')}")


def build_completion() -> Grader:
    return CodeCompletion()


def build_completion_evalplus() -> Grader:
    return CodeCompletion(evalplus=True)


@dataclass(frozen=True, slots=True)
class SkyThoughtTests:
    """References are as in `read_tests`. Only the private tests count, and grading stops at the first failed one."""

    limits: Limits = LIMITS

    def grade(self, problem: Problem, answer: str) -> Grade:
        """The grade of the last complete code block of `answer`, which is the whole response."""
        try:
            tests = read_tests(problem.reference, private_only=True)
            code = last_block(answer)
            if code is None:
                return Grade(False)
            if tests.function is None:
                return _grade_program(code, tests, self._fault)
            return self._grade_function(code, tests)
        except InputError as error:
            return Grade(None, error=str(error))

    def _fault(self, code: str, test: ContestTest) -> str | None:
        limits = replace(self.limits, output=2 * len(test.output) + MIB)
        name = "__main__" if _MAIN in code else "builtins"
        (ran,) = run_programs(Program(SKYTHOUGHT_PROGRAM, test.input.encode(), limits, (name, code)))
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
            tests=f"FUNCTION = {function}\n{SKYTHOUGHT_CALLS}",
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
    """The last complete code block; None without one."""
    blocks = _BLOCK.findall(response)
    if not blocks:
        return None
    return str(blocks[-1]).split("</code>")[0].replace("<code>", "")


def first_function(code: str) -> str | None:
    """The word before the first bracket, which SkyThought uses as the function to call."""
    words = code.partition("(")[0].split()
    return words[-1] if words and words[-1].isidentifier() and not iskeyword(words[-1]) else None


def _wanted(output: str) -> str:
    """The expected text without a trailing dash, which SkyThought drops."""
    text = output.strip()
    return text[:-1].rstrip() if text.endswith("-") else text


def build_skythought() -> Grader:
    return SkyThoughtTests()
