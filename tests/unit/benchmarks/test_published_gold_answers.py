"""Every published gold answer of GSM8K, MATH-500 and AIME 2024 grades as right, and a perturbed one as wrong."""

import re
from collections.abc import Iterator

import pytest

from safechain_ray.benchmarks.base import Problem, load_problems, with_source
from safechain_ray.benchmarks.math_grader import MathGrader, gold_answer
from safechain_ray.catalog import benchmarks
from tests.real_data import real, real_data_marks

SHARED = real("data")
FILES = {"gsm8k": ("gsm8k_test.jsonl", 1319), "math500": ("math500.jsonl", 500), "aime24": ("aime24.jsonl", 30)}

pytestmark = real_data_marks("data")


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    grader = MathGrader()
    yield grader
    grader.equality.close()


def problems(name: str) -> tuple[Problem, ...]:
    file, rows = FILES[name]
    found = load_problems(with_source(benchmarks()[name], str(SHARED / file)))
    assert len(found) == rows == benchmarks()[name].rows
    return found


def gold(problem: Problem) -> str:
    return gold_answer(problem.reference["gold"])


def response(answer: str) -> str:
    """As a reasoning model ends."""
    return f"First \\(x = 1\\), so 2 and {{3}}.\n\n**Final Answer**\n\\[\n\\boxed{{{answer}}}\n\\]\n"


def perturbed(answer: str) -> str:
    """Another value: its first digit is another one, or there is none and it is halved."""
    if re.search(r"\d", answer):
        return re.sub(r"\d", lambda digit: str(int(digit[0]) % 9 + 1), answer, count=1)
    return rf"\frac{{{answer}}}{{2}}"


@pytest.mark.parametrize("name", FILES)
def test_gold_answers_are_right(name: str, grader: MathGrader):
    wrong = [gold(each) for each in problems(name) if grader.grade(each, response(gold(each))).correct is not True]
    assert wrong == []


@pytest.mark.parametrize("name", FILES)
def test_perturbed_ones_are_wrong(name: str, grader: MathGrader):
    answers = [(each, perturbed(gold(each))) for each in problems(name)]
    right = [answer for each, answer in answers if grader.grade(each, response(answer)).correct is not False]
    assert right == []


def test_algebra_too_finds_each_of_them_equal_to_itself(grader: MathGrader):
    answers = [gold(each) for name in ("math500", "aime24") for each in problems(name)]
    assert [answer for answer in answers if not grader.equality.equal(answer, answer + " ")] == []


def test_what_responses_fall_back_to_without_a_box_is_right_for_gsm8k(grader: MathGrader):
    for each in problems("gsm8k"):
        assert grader.grade(each, f"Of 3 things, the answer is ${gold(each)}.").correct
        assert grader.grade(each, f"2 + 2 = 4, so she has {gold(each)} of them.").correct
