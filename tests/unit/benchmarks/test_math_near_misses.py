"""Correct answers in mathematics in many forms, and near misses of each form."""

from collections.abc import Iterator

import pytest

from safechain_ray.benchmarks.base import Problem
from safechain_ray.benchmarks.math_grader import MathGrader

UNION = r"(-\infty,-1) \cup (1,\infty)"

MULTIPLIERS = (
    *("million", "millions", "billion", "thousands", "dozen", "dozens", "gross", "lakh", "crores"),
    *("thousandths", "halves", "thirds", "fifths", "twentieths"),
    *("theta", "pi", "phi", "psi", "lambdas"),
    *("squared", "cubed", "root", "negative", "inverse", "double", "twice", "factorial", "mod"),
)


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    grader = MathGrader()
    yield grader
    grader.equality.close()


RIGHT = [
    # units
    ("18", r"\boxed{\text{18 dollars}}"),
    ("18", r"\boxed{18 km/h}"),
    ("18", r"\boxed{18\text{ km/h}}"),
    ("18", r"\boxed{18\text{km/h}}"),
    ("18", r"\boxed{18\,\mathrm{m/s^2}}"),
    ("18", r"\boxed{18 \frac{\text{km}}{\text{h}}}"),
    ("18", r"\boxed{18 \text{ m}^2}"),
    ("18", r"\boxed{18\text{m}^2}"),
    ("18", r"\boxed{18 miles per hour}"),
    ("18", r"\boxed{18 pages/minute}"),
    ("18", r"\boxed{\$18/hour}"),
    ("18", r"\boxed{18 man-hours}"),
    ("18", "The answer is 18 km/h."),
    ("1,250.50", r"\boxed{\text{1250.5 dollars a day}}"),
    ("18 km/h", r"\boxed{18}"),
    (r"18 \text{ km/h}", r"\boxed{18 km/h}"),
    (r"\frac{3}{4}", r"\boxed{3/4 \text{ of a cup}}"),
    ("18", r"\boxed{18 apples}"),
    ("18", r"\boxed{18 pies}"),
    ("18", r"\boxed{18 positive integers}"),
    ("18", r"\boxed{18 real roots}"),
    ("18", r"\boxed{18 red apples}"),
    ("18", r"\boxed{18 more apples}"),
    ("18", r"\boxed{18 months}"),
    ("18", r"\boxed{18 seconds}"),
    ("18", r"\boxed{18 points}"),
    ("18", r"\boxed{18 sq. ft.}"),
    ("18", r"\boxed{18 square meters}"),
    ("18", r"\boxed{18 meters squared}"),
    ("18", r"\boxed{18 people}"),
    ("18", r"\boxed{18 years old}"),
    ("18", r"\boxed{18 each}"),
    ("18", r"\boxed{18 dollars per shirt}"),
    ("18", r"\boxed{18 dollars/shirt}"),
    ("18", r"\boxed{18 percent}"),
    ("1", r"\boxed{1 apple}"),
    (r"\frac{1}{2}", r"\boxed{1/2 pizza}"),
    (r"\frac{1}{2}", r"\boxed{1/2 hours}"),
    # mixed numbers
    ("3/2", r"\boxed{1 1/2}"),
    (r"\frac{3}{2}", r"\boxed{1 1/2}"),
    ("1.5", r"\boxed{1\ 1/2}"),
    ("1 1/2", r"\boxed{\frac{3}{2}}"),
    ("1 1/2", r"\boxed{1.5}"),
    ("-3/2", r"\boxed{-1 1/2}"),
    (r"1\frac{1}{2}", r"\boxed{1 1/2}"),
    ("3/2", "The answer is 1 1/2 cups."),
    # number words
    ("18", r"\boxed{eighteen (18)}"),
    ("18", r"\boxed{18 (eighteen)}"),
    ("18", "The answer is eighteen (18)."),
    ("18", "The answer is **eighteen (18) dollars**."),
    ("121", r"\boxed{\text{one hundred and twenty-one}}"),
    # a denied answer
    ("18", "The answer is not 17. It is 18."),
    ("18", "The answer isn't 17. The answer is not $17$ but $18$."),
    ("18", "The answer is not 17, it's 18."),
    ("18", "The answer is 18, not 17."),
    ("18", "It is 18, not 17."),
    ("18", "The answer is 18. So the answer is not 17."),
    (r"\text{not enough information}", "The answer is not enough information."),
    # sets of real numbers
    ("x<-1 or x>1", rf"\boxed{{{UNION}}}"),
    (UNION, r"\boxed{x < -1 \text{ or } x > 1}"),
    (UNION, r"\boxed{x \in (1, \infty) \cup (-\infty, -1)}"),
    (UNION, r"\boxed{\left(-\infty, -1\right) ∪ \left(1, +\infty\right)}"),
    (r"(-\infty,2) \cup (2,\infty)", r"\boxed{x \ne 2}"),
    ("x > 1/2", r"\boxed{\left(\frac{1}{2}, \infty\right)}"),
    (r"[0,3)", r"\boxed{0 \le x < 3}"),
    (r"[0,3)", r"\boxed{x \ge 0 \text{ and } x < 3}"),
    (r"[0,2] \cup [1,3]", r"\boxed{[0,3]}"),
]

NEAR_MISSES = [
    # units
    ("81", r"\boxed{18 km/h}"),
    ("18", r"\boxed{\text{19 dollars}}"),
    ("18", r"\boxed{1.8 km/h}"),
    ("18", r"\boxed{-18 km/h}"),
    ("18", r"\boxed{1,8 km/h}"),
    ("18", r"\boxed{18x}"),
    ("18", r"\boxed{18 x/y}"),
    ("18", r"\boxed{18 m/h}"),
    ("18", r"\boxed{18/h}"),
    ("18", r"\boxed{18 - m}"),
    ("18", r"\boxed{18 m^2}"),
    ("18", r"\boxed{18 ab/cd}"),
    ("18", r"\boxed{18 \sin x}"),
    ("18", r"\boxed{18 \theta}"),
    ("18", r"\boxed{18\pi \text{ cm}}"),
    ("18", r"\boxed{18/60 hours}"),
    ("18", r"\boxed{\text{about 19 dollars}}"),
    ("18", r"\boxed{\text{18 or 19 dollars}}"),
    ("3/4", r"\boxed{4/3 \text{ cups}}"),
    # words that make it another number
    *(
        (r"\frac{1}{2}", rf"\boxed{{1/2 {word}}}")
        for word in ["millions", "thousandths", "phi", "negative", "pct", "dozens"]
    ),
    *(("18", rf"\boxed{{18 {word}}}") for word in MULTIPLIERS),
    *(("18", rf"\boxed{{\text{{18 {word}}}}}") for word in MULTIPLIERS),
    *(("18", rf"\boxed{{18\text{{ {word}}}}}") for word in MULTIPLIERS),
    (r"\frac{3}{2}", r"\boxed{1 1/2 hundredths}"),
    ("18", r"\boxed{eighteen (18) thousandths}"),
    ("18", r"\boxed{18 million dollars}"),
    ("18", r"\boxed{18 dozen eggs}"),
    ("18", r"\boxed{18 ten-thousandths}"),
    ("18", r"\boxed{18 quarters}"),
    ("18", r"\boxed{18\text{ or 19}}"),
    ("3", r"\boxed{3 theta}"),
    # numbers beside each other
    ("18", r"\boxed{1.8}"),
    ("18", r"\boxed{1 8}"),
    ("18", r"\boxed{180}"),
    ("10", r"\boxed{1_0}"),
    ("18", r"\boxed{１８}"),
    ("1/2", r"\boxed{１/２}"),
    ("18", r"\boxed{१८}"),
    ("18", r"\boxed{18^2}"),
    ("18", r"\boxed{18!}"),
    ("18", r"\boxed{0.18\%}"),
    # mixed numbers
    ("3/2", r"\boxed{1 1/3}"),
    ("3/2", r"\boxed{2 1/2}"),
    ("11/2", r"\boxed{1 1/2}"),
    ("1 1/2", r"\boxed{11/2}"),
    ("1/2", r"\boxed{1 1/2}"),
    ("1 1/2", r"\boxed{1/2}"),
    ("3/2", r"\boxed{-1 1/2}"),
    ("-1/2", r"\boxed{-1 1/2}"),
    ("3/2", r"\boxed{1 - 1/2}"),
    ("1 1/2", r"\boxed{1 1/2 x}"),
    ("7/2", r"\boxed{2 3/2}"),
    ("1", r"\boxed{1 1/0}"),
    # number words
    ("18", r"\boxed{eighteen (17)}"),
    ("17", r"\boxed{eighteen (17)}"),
    ("18", r"\boxed{17 (eighteen)}"),
    ("18", r"\boxed{eighty}"),
    ("18", r"\boxed{eighty (80)}"),
    ("18", r"\boxed{\text{eighteen thousand}}"),
    ("121", r"\boxed{\text{one hundred and twelve}}"),
    ("1", r"\boxed{a}"),
    # a denied answer
    ("18", "It is not 18."),
    ("18", "The answer is not 18."),
    ("17", "The answer is not 17. It is 18."),
    ("17", "It is 18, not 17."),
    ("17", "The answer is 18, not 17."),
    ("18", "The answer isn't 18."),
    ("18", "The answer is not 17. It is not 18."),
    ("18", "The answer is 17. It is 1 less than 18."),
    # sets of real numbers
    ("x<-1", r"\boxed{(-\infty,-1]}"),
    ("x<-1 or x>1", r"\boxed{x<-1 and x>1}"),
    ("x<-1 or x>1", r"\boxed{(-\infty,-1] \cup [1,\infty)}"),
    ("x<-1 or x>1", r"\boxed{(-\infty,1) \cup (-1,\infty)}"),
    ("x<-1 or x>1", r"\boxed{(-1,1)}"),
    ("x<-1 or x>1", r"\boxed{x>1}"),
    (UNION, r"\boxed{(-\infty,-1) \cap (1,\infty)}"),
    (UNION, r"\boxed{-1 < x < 1}"),
    (UNION, r"\boxed{x \ne 1}"),
    (r"[0,2) \cup (2,3]", r"\boxed{[0,3]}"),
    ("x > 1/2", r"\boxed{x > 2}"),
    ("(2,4)", r"\boxed{(4,2)}"),
]


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_these_forms_are_right(grader: MathGrader, gold: str, answer: str):
    assert grader.grade(Problem("1", "", {"gold": gold}), answer).correct is True


@pytest.mark.parametrize(("gold", "answer"), NEAR_MISSES)
def test_these_near_misses_are_wrong(grader: MathGrader, gold: str, answer: str):
    assert grader.grade(Problem("1", "", {"gold": gold}), answer).correct is False


@pytest.mark.parametrize(("gold", "answer"), [("18", r"\boxed{18\%}"), ("0.18", r"\boxed{18\%}")])
def test_a_percentage_is_its_figure_and_its_share(grader: MathGrader, gold: str, answer: str):
    assert grader.grade(Problem("1", "", {"gold": gold}), answer).correct is True
