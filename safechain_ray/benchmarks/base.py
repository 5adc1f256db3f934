"""Benchmark problems, grades, the grader protocol with its registry, and the grader by terms.

To add a grader, write a module with a `build` function, add a line to `GRADERS`, and its name to the catalog's kinds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

from safechain_ray.catalog.benchmark_entries import GraderKind
from safechain_ray.types import Sample

Graded = Literal["answer", "response", "generated"]
"""The graded part of a sample: the answer after the thought, the whole response, or the generated text."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One item of a benchmark. `reference` is the grader's input (a gold answer, tests) as JSON values."""

    problem_id: str
    prompt: str
    reference: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Grade:
    """`correct` is None if the grader itself failed; `error` then names the reason.

    `extracted` is the extracted answer. None means that none was found, which is wrong and not missing. A wrong answer
    may have an `error` too, such as the failure of its code.
    """

    correct: bool | None
    extracted: str | None = None
    error: str | None = None


class Grader(Protocol):
    """Grades answers. Called by many threads and processes at once; equal answers always get equal grades."""

    def grade(self, problem: Problem, answer: str) -> Grade: ...


@dataclass(frozen=True, slots=True)
class GraderEntry:
    """Module and properties of a grader.

    `runs_code`: the grader executes code of a model, which requires a sandbox. `reads`: the graded part of a sample.
    `version` is increased whenever the same text may get another grade than before.
    """

    module: str
    runs_code: bool = True
    build: str = "build"
    reads: Graded = "answer"
    version: int = 1


GRADERS: Mapping[GraderKind, GraderEntry] = {
    "math": GraderEntry("math_grader", runs_code=False, version=2),
    "code_completion": GraderEntry("code_tests", build="build_completion", version=2),
    "code_completion_evalplus": GraderEntry("code_tests", build="build_completion_evalplus", reads="generated"),
    "code_asserts": GraderEntry("code_tests", build="build_asserts", version=2),
    "code_asserts_evalplus": GraderEntry("code_tests", build="build_asserts_evalplus", reads="generated"),
    "code_tests": GraderEntry("code_tests", version=2),
    "code_tests_skythought": GraderEntry("code_tests", build="build_skythought", reads="response"),
    "terms": GraderEntry("base", runs_code=False, build="build_terms"),
}


def make_grader(kind: GraderKind) -> Grader:
    """A grader of this kind. It may own child processes, so share one among all threads of a process."""
    entry = GRADERS[kind]
    grader: Grader = getattr(import_module(f"{__package__}.{entry.module}"), entry.build)()
    return grader


def grade_sample(grader: Grader, problem: Problem, sample: Sample, reads: Graded = "answer") -> Grade:
    """The grade of one sample. If the grader fails, or there is no response, the grade is missing, with the reason."""
    text = graded_text(sample, reads)
    if text is None:
        return Grade(None, error=f"no response to grade: outcome {sample.outcome}")
    try:
        return grader.grade(problem, text)
    except Exception as error:
        return Grade(None, error=f"{type(error).__name__}: {error}")


def graded_text(sample: Sample, reads: Graded = "answer") -> str | None:
    """The graded part of the sample; None without a response.

    The answer is empty (and so wrong) if the thought was truncated. The whole response is graded if there is no thought
    to
    remove: for models without thinking tags, and for a response that ended by itself with an open thought.
    """
    if sample.response is None:
        return None
    if reads == "response":
        return sample.response
    if reads == "generated":
        return sample.response.removeprefix(sample.prefill)
    left_open = sample.outcome == "truncated" and sample.finish_reason == "stop"
    return sample.response if sample.answer is None or left_open else sample.answer


@dataclass(frozen=True, slots=True)
class TermsGrader:
    """Correct is an answer that contains one of the terms `any_of` in the problem's reference.

    Terms match as whole words in any case. The first match in the answer is the extracted one.
    """

    def grade(self, problem: Problem, answer: str) -> Grade:
        terms = "|".join(re.escape(str(term)) for term in problem.reference["any_of"])
        found = re.search(rf"(?<!\w)(?:{terms})(?!\w)", answer, re.IGNORECASE)
        return Grade(correct=found is not None, extracted=found[0] if found else None)


def build_terms() -> Grader:
    return TermsGrader()
