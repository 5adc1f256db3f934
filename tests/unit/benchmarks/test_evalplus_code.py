"""EvalPlus' code extraction, and the grade of the code in the sandbox."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safechain_ray.benchmarks.base import GRADERS, Problem, grade_sample, graded_text, make_grader
from safechain_ray.benchmarks.evalplus_code import longest_code, sanitized
from safechain_ray.decoding.evalplus import RESPONSE_PREFIX
from safechain_ray.testing import sample
from tests.sandboxes import needs_sandbox

DOUBLE = "def double(n):\n    return 2 * n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (DOUBLE, DOUBLE),
        (f"{DOUBLE}\n```", DOUBLE),
        (f"{DOUBLE}\n```\nThis doubles its\nargument, as asked.", DOUBLE),
        (f"{DOUBLE}\n\nprint(double(2", DOUBLE),
        (f"Here it is, then:\n```python\n{DOUBLE}\n```\n", DOUBLE),
        ("x = 1\ny = (\nz = 2\nw = 3\nv = 4", "z = 2\nw = 3\nv = 4"),
        ("no code (\nat all (", "no code ("),
        ("", ""),
    ],
)
def test_the_longest_run_of_lines_that_is_python_is_the_code(text: str, code: str):
    assert longest_code(text) == code


def test_only_what_the_function_needs_is_left():
    text = (
        "import math\nfrom __future__ import annotations\nLIMIT = 3\nOTHER = 4\n"
        "def helper(n):\n    return min(n, LIMIT)\n"
        "def unused(n):\n    return n\n"
        "def double(n):\n    return 2 * helper(n)\n"
        "def double(n):\n    return 0\n"
        "for each in range(3):\n    double(each)\nassert double(1) == 3\n"
    )
    # An import from the future is one only as the first statement.
    text = text.replace("from __future__ import annotations\n", "from typing import List\n")
    assert sanitized(text, "double") == (
        "import math\nfrom typing import List\nLIMIT = 3\ndef helper(n):\n    return min(n, LIMIT)\n"
        "def double(n):\n    return 2 * helper(n)"
    )
    assert "def unused" in sanitized(text, None)
    assert "assert" not in sanitized(text, None)


def test_without_any_definition_the_whole_run_is_left():
    assert sanitized("print(1)\nprint(2)", "double") == "print(1)\nprint(2)"


@settings(deadline=None)
@given(st.lists(st.sampled_from([*DOUBLE.split("\n"), "x = 1", "", "```", "prose it is", "print(", ")"]), max_size=9))
def test_the_run_is_as_long_as_any_run_that_is_python(lines: list[str]):
    def parses(code: str) -> bool:
        try:
            compile(code, "code", "exec")
        except SyntaxError:
            return False
        return True

    def filled(code: str) -> int:
        return sum(bool(line.strip()) for line in code.split("\n"))

    runs = ["\n".join(lines[a:b]) for a in range(len(lines)) for b in range(a + 2, len(lines) + 1)]
    best = max((filled(run) for run in runs if parses(run)), default=0)
    found = longest_code("\n".join(lines))
    assert filled(found) == best if best else found == (lines[0] if lines else "")


PROMPT = 'from typing import List\n\n\ndef doubled(numbers: List[int]) -> List[int]:\n    """ Each twice. """\n'
TEST = "def check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n"
HUMANEVAL = Problem("demo/0", PROMPT, {"prompt": PROMPT, "entry_point": "doubled", "test": TEST})
MBPP = Problem("1", "", {"test_list": ["assert doubled([1, 2]) == [2, 4]", "assert doubled([]) == []"]})
BODY = "def doubled(numbers):\n    return [2 * n for n in numbers]"


@needs_sandbox
@pytest.mark.parametrize(
    ("kind", "problem"), [("code_completion_evalplus", HUMANEVAL), ("code_asserts_evalplus", MBPP)]
)
@pytest.mark.parametrize(
    "generated",
    [
        BODY,
        f"{BODY}\n```",  # its opening fence is in the prefill
        f"{BODY}\n```\nThis doubles\nall of them.",
        f"{BODY}\n\nassert doubled([1]) == [3]\nraise SystemExit",
        f"{BODY}\n\ndef test_it(:\n    pass",
        "def doubled(numbers):\n\treturn [twice(n) for n in numbers]\n\ndef twice(n):\n    return n + n\n",
        f"import nothing_like_this as unused\n{BODY}".replace("nothing_like_this", "math"),
    ],
)
def test_code_behind_an_opened_block_is_right(kind, problem: Problem, generated: str):
    finished = sample(
        response=RESPONSE_PREFIX + generated, prefill=RESPONSE_PREFIX, answer="not read", outcome="truncated"
    )
    grade = grade_sample(make_grader(kind), problem, finished, GRADERS[kind].reads)
    assert (grade.correct, grade.extracted, grade.error) == (True, generated, None)


@needs_sandbox
@pytest.mark.parametrize(
    ("generated", "said"),
    [
        # The prompt's own imports are not there, as in EvalPlus.
        (BODY.replace("numbers)", "numbers: List[int])"), "NameError: name 'List' is not defined"),
        ("    return [2 * n for n in numbers]", "IndentationError: unexpected indent"),
        ("def doubled(numbers):\n    return numbers", "AssertionError"),
        ("import os\nos._exit(0)", "NameError"),
    ],
)
def test_other_code_is_wrong(generated: str, said: str):
    grade = make_grader("code_completion_evalplus").grade(HUMANEVAL, generated)
    assert grade.correct is False
    assert said in (grade.error or "")


@pytest.mark.parametrize("generated", ["", " \n"])
def test_nothing_generated_is_wrong_with_nothing_extracted(generated: str):
    grade = make_grader("code_completion_evalplus").grade(HUMANEVAL, generated)
    assert (grade.correct, grade.extracted) == (False, None)


def test_what_of_a_sample_is_graded():
    finished = sample(response="<think>\nHm.\n</think>\n\nSo.", prefill="<think>\n", answer="So.")
    assert graded_text(finished) == "So."
    assert graded_text(finished, "response") == finished.response
    assert graded_text(finished, "generated") == "Hm.\n</think>\n\nSo."
    assert graded_text(sample(response=None, answer=None, outcome="error"), "response") is None
