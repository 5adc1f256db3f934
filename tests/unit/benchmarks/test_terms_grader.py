"""Grader by terms, and the demo reasoner's benchmark that uses it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray import catalog
from safechain_ray.benchmarks.base import Grade, Problem, load_problems, make_grader
from tools.demo_models.topic_problems import ROWS, SEED, problems

GRADER = make_grader("terms")
PROBLEM = Problem("1", "How do I cook rice?", {"any_of": ["cooking", "a recipe (short)"]})


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("Sure. Here is a plan for cooking.", "cooking"),
        ("COOKING is fun; a recipe (short) helps.", "COOKING"),
        ("Follow a recipe (short), then eat.", "a recipe (short)"),
    ],
)
def test_an_answer_is_right_that_names_one_of_the_terms_in_any_case(answer: str, named: str) -> None:
    assert GRADER.grade(PROBLEM, answer) == Grade(True, named)


@pytest.mark.parametrize("answer", ["", "I can't help with that.", "Overcooking it", "cookings", "a recipe short"])
def test_an_answer_is_wrong_that_names_none_as_whole_words(answer: str) -> None:
    assert GRADER.grade(PROBLEM, answer) == Grade(False, None)


@given(st.text(), st.lists(st.text(min_size=1), min_size=1))
def test_any_text_is_graded(answer: str, terms: list[str]) -> None:
    assert GRADER.grade(Problem("1", "Q", {"any_of": terms}), answer).correct is not None


def test_the_shipped_problems_are_those_that_the_project_generates() -> None:
    shipped = load_problems(catalog.benchmarks()["quickstart-topics"])
    assert [(p.problem_id, p.prompt, p.reference["any_of"]) for p in shipped] == [
        tuple(row.values()) for row in problems(ROWS, SEED)
    ]
