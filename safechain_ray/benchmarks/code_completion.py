"""Grader of a function to complete, against the `check(candidate)` of the problem (HumanEval, arXiv:2107.03374)."""

from dataclasses import dataclass
from textwrap import indent

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.evalplus_code import sanitizing_program
from safechain_ray.benchmarks.examination import Examination, grade_code
from safechain_ray.benchmarks.extraction import defines, extract_code
from safechain_ray.benchmarks.sandbox import Limits

LIMITS = Limits(processor_seconds=20, wall_seconds=120)


@dataclass(frozen=True, slots=True)
class CodeCompletion:
    """References have `prompt` (code up to the body that is missing), `entry_point` and `test`, as HumanEval's rows.

    With `evalplus` the answer is what was generated behind an opened code block. It has to be whole by itself: what the
    prompt imports and defines is not there for it.
    """

    limits: Limits = LIMITS
    evalplus: bool = False

    def grade(self, problem: Problem, answer: str) -> Grade:
        prompt, entry_point = str(problem.reference["prompt"]), str(problem.reference["entry_point"])
        code = (answer if answer.strip() else None) if self.evalplus else extract_code(answer, defining=entry_point)
        if code is None:
            return Grade(False)
        programs = (sanitizing_program(code, entry_point),) if self.evalplus else completions(prompt, entry_point, code)
        # What the prompt defines beside the function is taken from the prompt, not from the answer.
        examination = Examination(
            tests=f"{problem.reference['test']}\ncheck({entry_point})\n", before=prompt, wanted=(entry_point,)
        )
        return grade_code(code, programs, examination, self.limits)


def completions(prompt: str, entry_point: str, code: str) -> tuple[str, ...]:
    """The programs that an answer can mean, likeliest first; the first that is Python is it.

    One that defines the function may rely on what the prompt imports and defines; any other continues the prompt,
    and may have lost the indentation of its first line or of all.
    """
    if defines(code, entry_point):
        return (f"{prompt}\n\n{code}", code)
    return (f"{prompt}{code}", f"{prompt}    {code}", f"{prompt}{indent(code, '    ')}")


def build() -> Grader:
    return CodeCompletion()


def build_evalplus() -> Grader:
    return CodeCompletion(evalplus=True)
