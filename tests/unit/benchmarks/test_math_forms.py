"""Comparison of two answers by form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.benchmarks.math_grader import same_as_written

SAME = [
    ("18", "18.00"),
    ("18", "018"),
    ("18", r"\$18"),
    ("18", "18 dollars"),
    ("18", "18."),
    ("-0", "0"),
    ("1,450,000", "1450000"),
    ("1450000", "1 450 000"),
    (r"10,\!080", "10080"),
    (r"11,\! 111,\! 111,\! 100", "11,111,111,100"),
    (r"\$32,\!348", "32348"),
    (".35625", "0.35625"),
    ("25", "025"),
    (r"5.4 \text{ cents}", "5.4"),
    (r"15\mbox{ cm}^2", r"15 \text{ cm}^2"),
    (r"\frac{270}7\text{ degrees}", r"\dfrac{270}7"),
    (r"90^\circ", "90"),
    (r"90^\circ", r"90^{\circ}"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{even}", "Even"),
    (r"\text{(C)}", "(C)"),
    (r"\text{(C)}", r"\text{(C) }5"),
    ("4210_{5}", "4210_5"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
    ("x^{2}+1", "x^2 + 1"),
]

DIFFERENT = [
    ("18", "19"),
    ("18", "-18"),
    ("1", "1" + "0" * 900),
    (".0000672", "0.0000671"),
    ("18", "19 dollars"),
    (r"\text{Evelyn}", "Navin"),
    (r"\text{(C)}", r"\textbf{(B)}\ 5"),
    ("2516_8", "2516_7"),
    ("2516_8", "2517_{8}"),
]

UNDECIDED = [
    ("18", "36/2"),
    ("2", "2 pi"),
    ("3", "3x"),
    (r"\frac{1}{2}", "0.5"),
    ("(2,4)", "(4,2)"),
    ("1,2", "12"),
    ("11/2", "1 1/2"),
    ("11/2", r"1\ 1/2"),
    ("3R^2", "3r^2"),
    ("2516_8", "2516"),
]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_these_are_the_same(gold: str, answer: str):
    assert same_as_written(gold, answer) is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_these_are_different(gold: str, answer: str):
    assert same_as_written(gold, answer) is False


@pytest.mark.parametrize(("gold", "answer"), UNDECIDED)
def test_these_take_algebra(gold: str, answer: str):
    assert same_as_written(gold, answer) is None


@given(st.integers(), st.integers())
def test_integers_are_the_same_exactly_if_they_are_equal(one: int, other: int):
    assert same_as_written(str(one), str(other)) is (one == other)
    assert same_as_written(f"{one:,}", str(one)) is True


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_zeros_at_the_ends_of_a_decimal_count_for_nothing(number):
    assert same_as_written(f"{number:f}", f"{number:f}000") is True


@given(st.text(max_size=60))
def test_every_text_is_the_same_as_itself(text: str):
    assert same_as_written(text, text) is True


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_it(gold: str, answer: str):
    assert same_as_written(gold, answer) in (True, False, None)
