"""Functions to complete: every form of an answer, and tricks that pass if tests run beside the code."""

import pytest

from safechain_ray.benchmarks.base import Problem
from safechain_ray.benchmarks.code_tests import CodeCompletion, build_completion
from safechain_ray.benchmarks.sandbox import Limits
from tests.sandboxes import needs_sandbox

pytestmark = needs_sandbox

PROMPT = '''from typing import List

def double(x: int) -> int:
    return 2 * x


def doubled(numbers: List[int]) -> List[int]:
    """ Each number twice as large.
    >>> doubled([1, 2])
    [2, 4]
    """
'''
TEST = """
METADATA = {'author': 'us'}

def check(candidate):
    assert candidate([1, 2]) == [2, 4]
    assert candidate([5]) == [double(5)], "five"
    assert tuple(candidate([])) == tuple(doubled([]))
"""
PROBLEM = Problem("demo/0", PROMPT, {"prompt": PROMPT, "entry_point": "doubled", "test": TEST})


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{PROMPT}    return [2 * n for n in numbers]\n```",
        "Sure.\n```python\ndef doubled(numbers: List[int]) -> List[int]:\n    return [double(n) for n in numbers]\n```",
        "    return [double(n) for n in numbers]",
        "```python\n    result = []\n    for n in numbers:\n        result.append(2 * n)\n    return result\n```",
        "result = []\n    for n in numbers:\n        result.append(2 * n)\n    return result",
        "```\nresult = []\nfor n in numbers:\n    result.append(2 * n)\nreturn result\n```",
        "```python\nfrom __future__ import annotations\ndef doubled(them):\n    return [n + n for n in them]\n```",
        "```python\ndef doubled(them):\n    return [n + n for n in them]\nif __name__ == '__main__': 1 / 0\n```",
        "```python\ndef doubled(numbers):\n    numbers.reverse()\n    return [2 * n for n in numbers][::-1]\n```\n"
        "```python\nprint(doubled([1]))\n```",
    ],
)
def test_a_right_answer_passes_in_whatever_shape(answer: str):
    grade = build_completion().grade(PROBLEM, answer)
    assert (grade.correct, grade.error) == (True, None)
    assert grade.extracted


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def doubled(numbers):\n    return numbers", "AssertionError in: assert candidate([1, 2]) == [2, 4]"),
        ("def doubled(numbers):\n    return None", "AssertionError in: assert candidate([1, 2]) == [2, 4]"),
        ("def doubled(numbers):\n    return numbers[9]", "IndexError: list index out of range in: assert"),
        ("def doubled(numbers:\n", "SyntaxError"),
        ("def doubled(numbers):\n    while True: pass", "used more than 1 s of processor time"),
        ("import nothing_like_this\ndef doubled(numbers): ...", "ModuleNotFoundError"),
    ],
)
def test_a_wrong_answer_fails_and_says_of_what(code: str, said: str):
    grade = CodeCompletion(Limits(processor_seconds=1)).grade(PROBLEM, f"```python\n{code}\n```")
    assert grade.correct is False
    assert (grade.error or "").startswith(said)


def on_descriptors(action: str) -> str:
    """Code that does something with every descriptor it has but the standard ones, and returns nothing of use."""
    return f"""
import os
for number in range(3, 20):
    try: {action}
    except OSError: pass
def doubled(numbers): return 1
"""


LIAR = "class Liar(list):\n    def __eq__(self, other): return True\n"


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.exit(0)\ndef doubled(numbers): ...",
        "import os\nos._exit(0)\ndef doubled(numbers): ...",
        "def doubled(numbers):\n    raise SystemExit(0)",
        "import os\ndef doubled(numbers):\n    os._exit(0)",
        "def doubled(numbers):\n    print('passed', flush=True)",
        f"{LIAR}def doubled(numbers):\n    return Liar()",
        "class Any:\n    def __eq__(self, other): return True\ndef doubled(numbers):\n    return Any()",
        "import builtins\nbuiltins.tuple = lambda *a: 0\ndef doubled(numbers):\n    return [2, 4]",
        "import builtins\nbuiltins.AssertionError = Exception\ndef doubled(numbers):\n    return 1",
        "def double(x): return 0\ncheck = lambda candidate: None\ndef doubled(numbers):\n    return [2, 4]",
        "import sys\nsys.settrace(lambda *a: sys.exit(0))\ndef doubled(numbers):\n    return 1",
        # Answers to the examiner past the function: none of them is worth more than a value.
        on_descriptors("os.write(number, b'{\"value\": true}\\n' * 9)"),
        on_descriptors("os.write(number, b'[' * 100_000 + b'\\n')"),
        on_descriptors("os.close(number)"),
    ],
)
def test_a_trick_is_no_answer(code: str):
    grade = build_completion().grade(PROBLEM, f"```python\n{code}\n```")
    assert grade.correct is False
    assert grade.error


def test_the_code_has_no_way_to_see_a_result_that_is_expected():
    """It looks through all its memory for the text of a test, and tells of it by what it dies of."""
    code = """
import gc, sys
def everything():
    for each in gc.get_objects():
        yield repr(each)
    frame = sys._getframe()
    while frame:
        yield repr((frame.f_globals, frame.f_locals))
        frame = frame.f_back
def doubled(numbers):
    sought = ["SECRET", "RESULT"]  # never joined where Python keeps it
    raise ValueError("seen" if any("-".join(sought) in text for text in everything()) else "not seen")
"""
    test = "def check(candidate):\n    assert candidate([1]) == 'SECRET-RESULT'\n"
    problem = Problem("demo/1", PROMPT, {"prompt": PROMPT, "entry_point": "doubled", "test": test})
    assert (build_completion().grade(problem, code).error or "").startswith("ValueError: not seen")


def test_an_answer_without_code_is_wrong():
    assert build_completion().grade(PROBLEM, "") == build_completion().grade(PROBLEM, "```java\nint x;\n```")
    assert (build_completion().grade(PROBLEM, "").correct, build_completion().grade(PROBLEM, "").extracted) == (
        False,
        None,
    )


def test_tests_that_are_broken_are_no_fault_of_the_answer():
    problem = Problem("demo/2", PROMPT, {"prompt": PROMPT, "entry_point": "doubled", "test": "def check(:"})
    grade = build_completion().grade(problem, "    return 1")
    assert grade.correct is None
    assert (grade.error or "").startswith("the tests of this problem can't be run: SyntaxError")


def test_the_same_answer_gets_the_same_grade_though_it_draws_by_chance():
    code = "import random\ndef doubled(numbers):\n    return [n + n for n in numbers] if random.random() < 0.5 else 0"
    answer = f"```python\n{code}\n```"
    assert len({build_completion().grade(PROBLEM, answer).correct for _ in range(6)}) == 1
