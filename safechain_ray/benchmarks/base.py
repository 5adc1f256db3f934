"""A problem of a benchmark, its grade, and the protocol of graders.

The graders by the kind that the catalog names.

Adding one is a file with `build`, a line in `GRADERS`, and its name among the catalog's kinds.

What of a sample is graded, and its grade, whatever happens to the grader.

Grades answers by the terms that they have to name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

from safechain_ray.catalog.benchmark_entries import GraderKind
from safechain_ray.types import Sample

Graded = Literal["answer", "response", "generated"]

"""The graded part of a sample: the answer after the thought, the whole response, or what was generated."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One item of a benchmark. `reference` is what its grader needs (a gold answer, tests); JSON can hold it."""

    problem_id: str
    prompt: str
    reference: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Grade:
    """`correct` is None where the grader itself failed, as a judge may; `error` then says how.

    `extracted` is what was taken for the answer, None where nothing was found: that is wrong, not missing. A wrong
    answer may have an `error` too, such as what its code died of.
    """

    correct: bool | None
    extracted: str | None = None
    error: str | None = None


class Grader(Protocol):
    """Grades are given by many threads and processes at once, and the same answer always gets the same one."""

    def grade(self, problem: Problem, answer: str) -> Grade: ...


@dataclass(frozen=True, slots=True)
class GraderEntry:
    """Where a grader is found, and what it needs.

    `runs_code`: the grader runs what a model wrote, for which there must be a sandbox. `reads`: what of a sample is
    graded, the answer behind the thought, the whole response, or what the model generated behind a prefill. `version`
    rises whenever the same text may get another grade than before.
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
    """A grader of this kind. It may hold processes of its own: one is enough for all threads of a process."""
    entry = GRADERS[kind]
    grader: Grader = getattr(import_module(f"{__package__}.{entry.module}"), entry.build)()
    return grader


def grade_sample(grader: Grader, problem: Problem, sample: Sample, reads: Graded = "answer") -> Grade:
    """The grade of one sample. Where the grader itself fails, or there is no response, it is missing and says why."""
    text = graded_text(sample, reads)
    if text is None:
        return Grade(None, error=f"no response to grade: outcome {sample.outcome}")
    try:
        return grader.grade(problem, text)
    except Exception as error:
        return Grade(None, error=f"{type(error).__name__}: {error}")


def graded_text(sample: Sample, reads: Graded = "answer") -> str | None:
    """What of the sample is graded; None without a response.

    The answer is empty (and so wrong) where the thought was cut off. The whole response is graded in its place where
    there is no thought to set apart: of models without thinking tags, and where a response ended by itself with its
    thought still open.
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
    """Reads `any_of` of a problem's reference, a list: right is an answer that names one of them.

    Terms count as whole words, in any case; of several the first in the answer is what was extracted.
    """

    def grade(self, problem: Problem, answer: str) -> Grade:
        terms = "|".join(re.escape(str(term)) for term in problem.reference["any_of"])
        found = re.search(rf"(?<!\w)(?:{terms})(?!\w)", answer, re.IGNORECASE)
        return Grade(correct=found is not None, extracted=found[0] if found else None)


def build_terms() -> Grader:
    return TermsGrader()
