"""Grades answers in mathematics: the final answer against the gold one, by form first, then by algebra."""

from dataclasses import dataclass, field

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.equality import ComparisonError, MathEquality
from safechain_ray.benchmarks.math_answer import LONGEST_ANSWER, final_answer, gold_answer
from safechain_ray.benchmarks.math_forms import same_as_written


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
            same = same_as_written(gold, extracted)
            correct = self.equality.equal(gold, extracted) if same is None else same
        except ComparisonError as error:
            return Grade(correct=None, extracted=extracted, error=str(error))
        return Grade(correct, extracted)


def build() -> Grader:
    return MathGrader()
