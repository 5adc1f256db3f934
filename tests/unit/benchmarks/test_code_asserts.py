"""Assertions that call a function: with set-up, with objects of the answer's own classes, with the standard library."""

import pytest

from safechain_ray.benchmarks.base import Grade, Problem
from safechain_ray.benchmarks.code_tests import build_asserts
from tests.sandboxes import needs_sandbox

pytestmark = needs_sandbox


def grade(code: str, *asserts: str, **reference: object) -> Grade:
    return build_asserts().grade(Problem("1", "", {"test_list": list(asserts), **reference}), f"```python\n{code}\n```")


def test_all_assertions_have_to_hold():
    assert grade("def f(x): return x", "assert f(1) == 1", "assert f('a') == 'a'").correct
    failed = grade("def f(x): return 1", "assert f(1) == 1", "assert f('a') == 'a'")
    assert failed == Grade(False, "def f(x): return 1", "AssertionError in: assert f('a') == 'a'")


def test_set_up_uses_the_classes_of_the_answer():
    code = """
class Node:
    def __init__(self, data):
        self.data = data
        self.left = None
def height(root):
    return 0 if root is None else 1 + height(root.left)
"""
    assert grade(code, "assert height(root) == 2", test_setup_code="root = Node(1)\r\nroot.left = Node(2)").correct
    assert (
        grade(code, "assert height(root) == 3", test_setup_code="root = Node(1)\r\nroot.left = Node(2)").correct
        is False
    )


@pytest.mark.parametrize(
    ("code", "test"),
    [
        ("def f(x): return x", "assert math.isclose(f(math.pi), 3.141592653589793)"),
        ("def f(x): return (i for i in x)", "assert list(f([1, 2])) == [1, 2]"),
        ("def f(x): return {1: (2, {3})}", "assert f(0) == {1: (2, {3})}"),
        ("def f(x): return map(str, x)", "assert set(f([1, 2])) == {'1', '2'}"),
        ("import re\ndef f(x): return re.search('b', x)", "assert f('abc').start() == 1"),
        ("def f(x): return lambda y: x + y", "assert f(1)(2) == 3"),
        ("def f(x, kind): return isinstance(x, kind)", "assert f(1, int) == True"),
        ("def sum(a, b): return a * b", "assert sum(2, 5) == 10"),
        ("def f(x): raise ValueError(x)", "try:\n    f(1)\n    assert False\nexcept ValueError:\n    pass"),
        ("def f(x): return complex(x, 1)", "assert f(1) == 1 + 1j"),
        ("from decimal import Decimal\ndef f(x): return Decimal(x)", "assert f('10') == 10 and f('15.3') > 15"),
        ("from fractions import Fraction\ndef f(x): return [Fraction(x, 2)]", "assert f(1) == [0.5]"),
        (
            "from datetime import *\ndef f(x): return x + timedelta(1)",
            "d = datetime.date(1, 1, 1)\nassert f(d).day == 2",
        ),
        ("def f(x): return range(x)", "assert f(3) == range(3) and f(3) != [0, 1, 2]"),
        ("def f(x): return {x: 1}.keys()", "assert f(1) == {1} and list(f(2)) == [2]"),
        ("from collections import *\ndef f(x): return Counter(x)", "assert f('aa') == collections.Counter(a=2, b=0)"),
    ],
)
def test_values_and_objects_pass_between_the_assertions_and_the_answer(code: str, test: str):
    assert grade(code, test) == Grade(True, code)


def test_imports_that_the_assertions_bring():
    assert grade("def f(x): return x", "assert m.isclose(f(1), 1)", test_imports=["import math as m"]).correct


@pytest.mark.parametrize(
    ("code", "said"),
    [
        # A name of the standard library or of Python is its own, whatever the answer calls so.
        ("def set(x): return 1\nclass math: isclose = print\ndef f(x): return [9]", "AssertionError"),
        ("class A:\n    def __bool__(self): return True\ndef f(x): return A()", "TypeError"),
        ("class A:\n    def __eq__(self, other): return True\ndef f(x): return A()", "TypeError"),
        # What a class of the answer's own says of itself stays with it: only its number arrives.
        (
            "import decimal\nclass A(decimal.Decimal):\n    __eq__ = lambda *_: True\ndef f(x): return [A(2)]",
            "AssertionError",
        ),
        ("def g(x): return x", "NameError: name 'f' is not defined"),
        ("def f(x): raise KeyboardInterrupt", "RaisedError: KeyboardInterrupt"),
    ],
)
def test_tricks_are_no_answers(code: str, said: str):
    wrong = grade(code, "assert f(1)", "assert set(f(1)) == {1} and math.isclose(1, 1)")
    assert wrong.correct is False
    assert (wrong.error or "").startswith(said)


def test_an_example_of_its_use_that_follows_is_not_taken_for_the_answer():
    answer = "```python\ndef f(x): return x\n```\nFor example:\n```python\nprint(f(3))\n```"
    problem = Problem("1", "", {"test_list": ["assert set(math.fsum([0]) or f([1])) == {1}"]})
    assert build_asserts().grade(problem, answer) == Grade(True, "def f(x): return x")
