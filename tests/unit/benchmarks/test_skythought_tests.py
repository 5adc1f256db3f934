"""Contest problems as SkyThought grades them: the last closed block, private tests only, nothing imported."""

import json

import pytest

from safechain_ray.benchmarks.base import Problem
from safechain_ray.benchmarks.code_tests import build_skythought, first_function, last_block
from tests.sandboxes import needs_sandbox


def problem(*private: tuple[str, str], function: str | None = None) -> Problem:
    """With a public test that no answer passes."""
    rows = [{"input": given, "output": wanted} for given, wanted in private]
    reference = {
        "public_test_cases": json.dumps([{"input": "0", "output": '"never"'}]),
        "private_test_cases": json.dumps(rows),
        "metadata": json.dumps({} if function is None else {"func_name": function}),
    }
    return Problem("demo", "", reference)


SUMS = problem(("1 2\n", "3\n"), ("-1 1", "0"))
READS = "a, b = map(int, input().split())\nprint(a + b)"
FUNCTION = problem(("3", "[3]"), ("4", "[4]"), function="solve")


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("<think>\n```python\nx = 1\n```\n</think>\nSo.\n```\nx = 2\n```", "x = 2\n"),
        ("<think>\n```python\nx = 1\n```\nHm", "x = 1\n"),  # the thought counts too
        ("```python\nx = 1\n```\n```python\nx = 2", "x = 1\n"),
        ("```python\n<code>x = 1</code>\n```", "x = 1"),
        ("```python x = 1```", None),
        ("x = 1", None),
        ("", None),
    ],
)
def test_the_last_block_that_is_closed_is_the_code(response: str, code: str | None):
    assert last_block(response) == code


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def solve(n):\n    return [n]", "solve"),
        ("from typing import List\n\ndef f(n): ...", "f"),
        ("class Solution:\n    def solve(self, n): ...", "solve"),
        ("print(1)", "print"),
        ("x = 1", "1"),
        ("", None),
        ("if (x): ...", None),
    ],
)
def test_the_word_before_the_first_bracket_is_the_function(code: str, name: str | None):
    assert first_function(code) == (name if name != "1" else None)


def graded(asked: Problem, code: str) -> tuple[bool | None, str]:
    grade = build_skythought().grade(asked, f"<think>\nHm.\n</think>\n```python\n{code}\n```\n")
    return grade.correct, grade.error or ""


@needs_sandbox
@pytest.mark.parametrize(
    "code",
    [READS, f'def main():\n    {READS.replace(chr(10), chr(10) + "    ")}\nif __name__ == "__main__":\n    main()'],
)
def test_a_program_is_right_by_its_private_tests_alone(code: str):
    assert graded(SUMS, code) == (True, "")


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(3)", "test 2 of 2: printed '3' instead of '0'"),
        (READS.replace("a + b", "float(a + b)"), "printed '3.0' instead of '3'"),
        ("a = Counter()\n" + READS, "NameError: name 'Counter'"),
        (READS + "\nexit()", "the code ended its process"),
        ("if __name__ == '__main__':\n    " + READS.replace("\n", "\n    "), "printed '' instead of '3'"),
    ],
)
def test_a_program_is_wrong_where_skythought_has_it_wrong(code: str, said: str):
    correct, error = graded(SUMS, code)
    assert correct is False
    assert said in error


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "correct", "said"),
    [
        ("def solve(n):\n    return [n]", True, ""),
        ("def other_name(n):\n    return [n]", True, ""),
        ("def solve(n):\n    return (n,)", False, "test 1 of 2 returned (3,) instead of [3]"),
        ("class Solution:\n    def solve(self, n):\n        return [n]", False, "NameError: name 'solve'"),
        ("def helper(n):\n    return n\n\ndef solve(n):\n    return [helper(n)]", False, "returned 3 instead of [3]"),
    ],
)
def test_the_first_function_is_called_and_its_value_compared_exactly(code: str, correct: bool, said: str):
    found, error = graded(FUNCTION, code)
    assert found is correct
    assert said in error


def test_a_problem_without_private_tests_can_not_be_graded():
    grade = build_skythought().grade(problem(), "```python\nx = 1\n```")
    assert grade.correct is None
    assert "no tests" in (grade.error or "")
