"""Graders by kind, and the part of a sample that they grade."""

from typing import get_args

import pytest

from safechain_ray.benchmarks.base import GRADERS, Grade, Problem, grade_sample, graded_text, make_grader
from safechain_ray.catalog.benchmark_entries import GraderKind
from safechain_ray.testing import sample
from safechain_ray.types import Sample

PROBLEM = Problem("p", "Q", {"gold": "4"})


class Echo:
    """Finds every answer right that is not empty, and takes it for the answer."""

    def grade(self, problem: Problem, answer: str) -> Grade:
        return Grade(bool(answer), answer or None)


class Broken:
    def grade(self, problem: Problem, answer: str) -> Grade:
        raise OSError("no memory for a sandbox")


@pytest.mark.parametrize("kind", get_args(GraderKind))
def test_every_kind_of_the_catalog_has_a_grader(kind: GraderKind) -> None:
    assert callable(make_grader(kind).grade)


def test_only_code_needs_a_sandbox() -> None:
    assert all(entry.runs_code == kind.startswith("code") for kind, entry in GRADERS.items())


def test_the_grader_of_mathematics_grades() -> None:
    assert make_grader("math").grade(PROBLEM, r"It is \boxed{4}.") == Grade(True, "4")


@pytest.mark.parametrize(
    ("sample", "graded"),
    [
        (sample(answer="4", response="<think>\n5\n</think>\n4"), "4"),
        (sample(thought=None, answer=None, response="4"), "4"),
        (sample(answer="", response="<think>\n4 4 4", outcome="truncated", finish_reason="length"), ""),
        (
            sample(answer="", response="<think>\n\\boxed{4}", outcome="truncated", finish_reason="stop"),
            "<think>\n\\boxed{4}",
        ),
        (
            sample(answer="It is", response="<think>\n</think>It is", outcome="truncated", finish_reason="length"),
            "It is",
        ),
        (sample(answer=None, response=None, outcome="blocked", finish_reason=None), None),
    ],
    ids=["the answer", "no tags", "cut off in thought", "ended in thought", "cut off in the answer", "blocked"],
)
def test_what_is_graded(sample: Sample, graded: str | None) -> None:
    assert graded_text(sample) == graded


def test_a_thought_that_was_cut_off_is_wrong_and_a_blocked_sample_is_missing() -> None:
    cut = sample(answer="", response="<think>\n4", outcome="truncated", finish_reason="length")
    assert grade_sample(Echo(), PROBLEM, cut) == Grade(False, None)
    blocked = grade_sample(Echo(), PROBLEM, sample(answer=None, response=None, outcome="blocked"))
    assert (blocked.correct, blocked.error) == (None, "no response to grade: outcome blocked")


def test_a_grader_that_fails_leaves_no_grade_but_a_reason() -> None:
    assert grade_sample(Broken(), PROBLEM, sample()) == Grade(None, None, "OSError: no memory for a sandbox")
