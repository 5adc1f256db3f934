"""Contest problems: programs that read and print, and functions with JSON arguments, as LiveCodeBench has them."""

import base64
import json
import pickle
import zlib
from typing import Any

import pytest

from safechain_ray.benchmarks.base import Grade, Problem
from safechain_ray.benchmarks.code_tests import CodeTests, build
from safechain_ray.benchmarks.sandbox import Limits
from tests.sandboxes import needs_sandbox

pytestmark = needs_sandbox


def problem(*tests: tuple[str, str], function: str | None = None) -> Problem:
    """The first test is public, the rest are private and packed as in the published files."""
    kind = "stdin" if function is None else "functional"
    rows = [{"input": given, "output": wanted, "testtype": kind} for given, wanted in tests]
    reference: dict[str, Any] = {
        "public_test_cases": json.dumps(rows[:1]),
        "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(json.dumps(rows[1:])))).decode(),
        "metadata": json.dumps({} if function is None else {"func_name": function}),
        "starter_code": "",
    }
    return Problem("demo", "", reference)


SUMS = problem(("2\n1 2\n3 4\n", "3\n7\n"), ("1\n-1 1\n", "0"), ("0\n", ""))
READS = "n = int(input())\nfor _ in range(n):\n    print(sum(map(int, input().split())))"


def grade(asked: Problem, code: str, limits: Limits | None = None) -> Grade:
    grader = build() if limits is None else CodeTests(limits)
    return grader.grade(asked, f"Thus:\n```python\n{code}\n```\n")


@pytest.mark.parametrize(
    "code",
    [
        READS,
        f"def main():\n    {READS.replace(chr(10), chr(10) + '    ')}\nif __name__ == '__main__':\n    main()",
        "import sys\ndata = sys.stdin.read().split()\nfor a, b in zip(data[1::2], data[2::2]): print(int(a) + int(b))",
        "import sys\ninput = sys.stdin.readline\n" + READS + "\nsys.exit(1)",
        "for line in open(0).read().splitlines()[1:]: print(float(sum(map(int, line.split()))))",
        "import numpy as np, sys\nfor line in stdin.readlines()[1:]: print(np.sum([int(x) for x in line.split()]))",
        "total = Counter()\n" + READS + "\nexit()",
    ],
)
def test_a_program_that_prints_what_is_expected_is_right(code: str):
    assert grade(SUMS, code) == Grade(True, code)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(3)\nprint(7)", "test 2 of 3: 2 lines instead of 1"),
        ("print('3\\n8')", "test 1 of 3: line 2 is '8' instead of '7'"),
        ("print('3\\n7')\n1 / 0", "test 1 of 3: ZeroDivisionError: division by zero"),
        (READS + "\nif n == 0: input()", "test 3 of 3: EOFError: EOF when reading a line"),
        ("while True: pass", "test 1 of 3: used more than 1 s of processor time"),
        ("def f(", "test 1 of 3: SyntaxError"),
        ("import os\nos._exit(0)", "test 1 of 3: 1 lines instead of 2"),
    ],
)
def test_a_program_that_does_not_is_wrong_and_says_where(code: str, said: str):
    wrong = grade(SUMS, code, Limits(processor_seconds=1))
    assert wrong.correct is False
    assert (wrong.error or "").startswith(said)


SPANS = problem(
    ("[1, 4]\n2", "[1, 2]"), ("[]\n0", "[]"), ('["a"]\n1', '["a", 1]'), ("[0.5]\n3", "[0.5, 3]"), function="spans"
)
RIGHT = "return numbers[:1] + [limit] if numbers else []"


@pytest.mark.parametrize(
    "code",
    [
        f"class Solution:\n    def spans(self, numbers: List[int], limit: int) -> List:\n        {RIGHT}",
        f"def spans(numbers, limit):\n    {RIGHT}",
        "class Solution:\n    def spans(self, of, limit):\n        return (*of[:1], limit) if of else ()",
        "import numpy as np\nclass Solution:\n    def spans(self, numbers, limit):\n        print('debug')\n"
        f"        limit = np.int64(limit)\n        {RIGHT}",
    ],
)
def test_a_function_that_returns_what_is_expected_is_right(code: str):
    assert grade(SPANS, code) == Grade(True, code)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [1, 2]", "AssertionError: test 2 of 4 returned [1, 2] instead of []"),
        ("return [(1,), 2]", "AssertionError: test 1 of 4 returned [(1,), 2] instead of [1, 2]"),
        ("return None", "AssertionError: test 1 of 4 returned None"),
        ("while numbers: pass\n        return []", "a call used more than 1 s of processor time"),
        ("raise SystemExit(0)", "RaisedError: SystemExit: 0"),
        ("return deque([1, 2])", "AssertionError: test 1 of 4 returned deque([1, 2]) instead of [1, 2]"),
        ("return object()", "TypeError: an object of the tested code's own class has no value to compare"),
    ],
)
def test_a_function_that_does_not_is_wrong_and_says_of_what(body: str, said: str):
    code = f"class Solution:\n    def spans(self, numbers, limit):\n        {body}"
    wrong = grade(SPANS, code, Limits(processor_seconds=1))
    assert wrong.correct is False
    assert (wrong.error or "").startswith(said)


def test_each_call_has_its_own_seconds():
    tests = [("1", "1")] * 4
    code = """
import time
class Solution:
    def spend(self, x):
        end = time.process_time() + 0.7
        while time.process_time() < end: pass
        return x
"""
    assert grade(problem(*tests, function="spend"), code, Limits(processor_seconds=2)).correct


def test_arguments_of_the_size_of_contests_pass():
    numbers = json.dumps(list(range(100_000)))
    tests = [(f"{numbers}\n[{numbers}]", numbers)] * 10
    assert grade(problem(*tests, function="first"), "def first(numbers, more): return more[0]").correct


def test_a_recursion_as_deep_as_contests_have_it_works():
    code = "@cache\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(int(input())))"
    assert grade(problem(("20000", "20000")), code) == Grade(True, code)


def test_a_recursion_in_a_thread_with_a_stack_as_large_as_contests_have_it_works():
    code = "import threading\nthreading.stack_size(2**30)\nthreading.Thread(target=lambda: print(3)).start()"
    assert grade(problem(("", "3")), code) == Grade(True, code)


def test_a_program_may_have_what_contests_allow_and_not_all_memory():
    assert grade(problem(("", "3")), "x = bytearray(3 * 2**29)\nprint(3)").correct
    assert (grade(problem(("", "3")), "x = bytearray(2**31)\nprint(3)").error or "").endswith("MemoryError")


def test_tests_that_can_not_be_read_are_no_fault_of_the_answer():
    missing = grade(Problem("demo", "", {"public_test_cases": "[{", "private_test_cases": "", "metadata": ""}), READS)
    assert missing.correct is None
    assert "can't be read" in (missing.error or "")
    no_json = grade(problem(("[1", "1"), function="f"), "def f(x): ...")
    assert no_json.correct is None
    assert "no JSON" in (no_json.error or "")


def test_an_answer_without_a_program_is_wrong():
    assert build().grade(SUMS, " ") == Grade(False)
