"""A problem of a benchmark, its grade, and the protocol of graders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

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
