"""Grades answers by the terms that they have to name."""

import re
from dataclasses import dataclass

from safechain_ray.benchmarks.base import Grade, Grader, Problem


@dataclass(frozen=True, slots=True)
class TermsGrader:
    """Reads `any_of` of a problem's reference, a list: right is an answer that names one of them.

    Terms count as whole words, in any case; of several the first in the answer is what was extracted.
    """

    def grade(self, problem: Problem, answer: str) -> Grade:
        terms = "|".join(re.escape(str(term)) for term in problem.reference["any_of"])
        found = re.search(rf"(?<!\w)(?:{terms})(?!\w)", answer, re.IGNORECASE)
        return Grade(correct=found is not None, extracted=found[0] if found else None)


def build() -> Grader:
    return TermsGrader()
