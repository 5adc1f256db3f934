"""Whether two answers are mathematically equal, asked of a process that may hang and is then killed."""

from pathlib import Path

from safechain_ray.limited_process import WALL_SECONDS, AnswerError, LimitedProcess, LimitExceededError

PROCESSOR_SECONDS = 10
"""Processor time of one comparison. Those of MATH-500's gold answers take some milliseconds."""

MEMORY = 4 * 2**30
"""Bytes of address space. What sympy takes for an answer of a model is a small part of it."""

_WORKER = Path(__file__).with_name("math_worker.py")

_SAME_HASHES = {"PYTHONHASHSEED": "0"}
"""The order of sympy's terms, and so its answers, depend on the seed."""


class ComparisonError(Exception):
    """Two answers could not be compared; says why."""


class MathEquality:
    """Compares answers in one process beside this one, which is started by the first question, and again after it died.

    May be asked by many threads, each in its turn, and by processes forked from this one, which start their own.
    """

    def __init__(self, processor_seconds: int = PROCESSOR_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self.child = LimitedProcess(_WORKER, processor_seconds, MEMORY, wall_seconds, _SAME_HASHES)

    def equal(self, gold: str, answer: str) -> bool:
        """Whether `answer` equals `gold`, both LaTeX or plain. Raises ComparisonError, also where it took too long."""
        try:
            return bool(self.child.ask([gold, answer]))
        except LimitExceededError as error:
            raise ComparisonError(f"the comparison {error}") from error
        except AnswerError as error:
            raise ComparisonError(f"the comparison failed: {error}") from error

    def close(self) -> None:
        """Ends the process; the next question starts another one."""
        self.child.close()
