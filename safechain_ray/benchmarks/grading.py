"""What of a sample is graded, and its grade, whatever happens to the grader."""

from safechain_ray.benchmarks.base import Grade, Graded, Grader, Problem
from safechain_ray.types import Sample


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
