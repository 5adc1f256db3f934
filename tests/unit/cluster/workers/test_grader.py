"""Block grading: every row gets its grade, and the progress tracker receives the number of correct rows."""

from typing import Any

import pyarrow as pa

from safechain_ray.benchmarks.base import Grader, Problem, make_grader
from safechain_ray.cluster.progress import ProgressTracker
from safechain_ray.cluster.workers.grader import GRADING, BlockGrader, grade_counts
from safechain_ray.testing import sample
from safechain_ray.types import SAMPLES_SCHEMA, as_samples, samples_from_table, samples_table
from safechain_ray.types.tables import GRADED_SCHEMA, with_grades, without_grade
from tests.unit.cluster.local_actors import LocalActor


class LocalProblems:
    """Twice two, under whatever id."""

    grader, reads = "math", "answer"

    def build(self) -> Grader:
        return make_grader("math")

    def fetch(self, problem_id: str) -> Problem:
        return Problem(problem_id, "What is 2 plus 2?", {"gold": "4"})


SAMPLES = (
    sample(sample_id="right", answer=r"\boxed{4.0}"),
    sample(sample_id="wrong", answer="5"),
    sample(sample_id="cut", answer="", outcome="truncated", finish_reason="length"),
    sample(sample_id="failed", answer=None, response=None, outcome="error", error="it failed", thought_tokens=None),
)


def graded(progress_tracker: Any) -> pa.Table:
    problems: Any = {"d": LocalProblems()}
    return BlockGrader(problems, LocalActor(progress_tracker))(samples_table(SAMPLES))


def test_every_sample_gets_its_grade_and_nothing_else_changes() -> None:
    table = graded(ProgressTracker())
    assert table.schema.equals(GRADED_SCHEMA)
    assert [(each["correct"], each["extracted"]) for each in table["grade"].to_pylist()] == [
        (True, "4.0"),
        (False, "5"),
        (False, None),
        (None, None),
    ]
    assert as_samples(table).schema.equals(SAMPLES_SCHEMA)
    assert samples_from_table(as_samples(table))[0] == SAMPLES[0]


def test_the_driver_hears_what_came_of_a_block_and_the_tally_how_many_were_graded() -> None:
    progress_tracker = ProgressTracker()
    counts = grade_counts(graded(progress_tracker))
    assert counts == {
        **{"rows": 4, "ok": 2, "truncated": 1, "blocked": 0, "error": 1},
        **{"tokens": 7, "correct": 1, "wrong": 2, "ungraded": 1},
    }
    done = progress_tracker.progress()[GRADING].counts
    assert (done["rows_in"], done["rows_out"]) == (4, 4)


def test_an_empty_block_is_counted_too() -> None:
    assert set(grade_counts(GRADED_SCHEMA.empty_table()).values()) == {0}


def test_only_a_response_without_a_grade_is_to_be_graded_again() -> None:
    no_grade = {"grader": "math", "correct": None, "extracted": None, "error": "it hung"}
    rows = graded(ProgressTracker()).to_pylist()
    rows[1]["grade"] = no_grade
    assert without_grade(pa.Table.from_pylist(rows, schema=GRADED_SCHEMA)) == [False, True, False, False]


def test_a_grade_that_quotes_half_of_a_surrogate_pair_is_kept() -> None:
    block = samples_table([sample()])
    (grade,) = with_grades(block, [{"grader": "g", "correct": None, "extracted": "\ud83d", "error": "no \ud83d"}])[
        "grade"
    ].to_pylist()
    assert (grade["extracted"], grade["error"]) == ("\ufffd", "no \ufffd")
