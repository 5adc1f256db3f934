"""Grades answers in mathematics: the final answer against the gold one, by form first, then by algebra."""

from dataclasses import dataclass, field

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.equality import ComparisonError, MathEquality
from safechain_ray.benchmarks.math_answer import LONGEST_ANSWER, final_answer, gold_answer
from safechain_ray.benchmarks.math_forms import same_as_written
from safechain_ray.benchmarks.math_intervals import same_set
from safechain_ray.benchmarks.math_quantities import same_quantity


@dataclass(frozen=True, slots=True)
class MathGrader:
    """Reads `gold` of a problem's reference: a number or LaTeX, after `####` if there is one.

    What no form decides is decided by math-verify (huggingface/Math-Verify), in a process of its own.
    """

    equality: MathEquality = field(default_factory=MathEquality)

    def grade(self, problem: Problem, answer: str) -> Grade:
        extracted = final_answer(answer)
        if extracted is None or len(extracted) > LONGEST_ANSWER:
            return Grade(correct=False, extracted=None)
        gold = gold_answer(str(problem.reference["gold"]))
        try:
            correct = _by_form(gold, extracted)
            if correct is None:
                correct = self.equality.equal(gold, extracted)
        except ComparisonError as error:
            return Grade(correct=None, extracted=extracted, error=str(error))
        return Grade(correct, extracted)


def _by_form(gold: str, answer: str) -> bool | None:
    """What the form of the two decides, None where it takes algebra."""
    for compare in (same_as_written, same_quantity, same_set):
        same = compare(gold, answer)
        if same is not None:
            return same
    # Algebra would read digits of other scripts as if they were ASCII.
    return False if any(character.isdecimal() and not character.isascii() for character in answer) else None


def build() -> Grader:
    return MathGrader()
