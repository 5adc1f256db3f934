"""Grades in mathematics: right, wrong and undecidable; a comparison process that hangs or dies."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from safechain_ray.benchmarks.base import Grade, Problem
from safechain_ray.benchmarks.math_grader import ComparisonError, MathEquality, MathGrader

HANGS = "9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    grader = MathGrader(MathEquality(processor_seconds=2))
    yield grader
    grader.equality.close()


def graded(grader: MathGrader, gold: object, answer: str) -> Grade:
    return grader.grade(Problem("1", "How many?", {"gold": gold}), answer)


RIGHT = [
    ("She sells 16 - 3 = <<16-3=13>>13.\n#### 13", r"**Final Answer**\[\boxed{13}\]"),
    ("#### 1,450,000", r"\boxed{\$1450000}"),
    ("025", r"\boxed{25}"),
    (25, r"\boxed{025}"),
    ("1450000", r"\boxed{1 450 000}"),
    (r"\frac14", r"\boxed{0.25}"),
    (r"11\sqrt2", r"\boxed{11\sqrt{2}}"),
    (r"1\frac{4}{5}", r"\boxed{\frac{9}{5}}"),
    (r"(3,4]", r"\boxed{\left( 3, 4 \right]}"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"\boxed{(3, \pi/2)}"),
    (r"x \in [-2,7]", r"\boxed{[-2, 7]}"),
    (r"1 \pm \sqrt{19}", r"\boxed{1 + \sqrt{19}, 1 - \sqrt{19}}"),
    ("-2,1", r"\boxed{1, -2}"),
    (r"\text{(C)}", r"\boxed{C}"),
    (r"\text{Evelyn}", "The answer is **Evelyn**."),
    (r"864 \mbox{ inches}^2", r"\boxed{864}"),
    (r"x \in [-2,7]", r"\boxed{-2 \le x \le 7}"),
    (r"(2,\infty)", r"\boxed{x > 2}"),
    (r"x=5", r"\boxed{5}"),
    (r"5x - 7y + 11z + 4 = 0", r"\boxed{-5x + 7y - 11z - 4 = 0}"),
    (r"(a+5)(b+2)", r"\boxed{ab + 2a + 5b + 10}"),
    (r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", r"\boxed{\begin{bmatrix} 0.2 \\ -3.6 \end{bmatrix}}"),
]

WRONG = [
    ("#### 13", r"\boxed{14}"),
    ("25", r"\boxed{26}"),
    (r"\frac14", r"\boxed{\frac{1}{5}}"),
    (r"(3,4]", r"\boxed{[3,4]}"),
    ("(2,4)", r"\boxed{(4,2)}"),
    (r"1 \pm \sqrt{19}", r"\boxed{1 + \sqrt{19}}"),
    (r"\text{(C)}", r"\boxed{B}"),
    (r"(2,\infty)", r"\boxed{x \ge 2}"),
    ("11/2", r"\boxed{1 1/2}"),
    ("p - q", r"\boxed{q - p}"),
    ("6+9i", r"\boxed{9+6i}"),
    (r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}", r"\boxed{\begin{pmatrix} -1 & 0 \\ 0 & 1 \end{pmatrix}}"),
    ("5", r"\boxed{\unknown{}$#%}"),
]


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_these_answers_are_right(grader: MathGrader, gold: object, answer: str):
    assert graded(grader, gold, answer).correct is True


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_these_answers_are_wrong(grader: MathGrader, gold: object, answer: str):
    assert graded(grader, gold, answer).correct is False


def test_the_grade_tells_what_was_taken_for_the_answer(grader: MathGrader):
    assert graded(grader, "5", r"It is \boxed{\frac{10}{2}}.") == Grade(True, r"\frac{10}{2}")


@pytest.mark.parametrize("answer", ["", "No idea.", r"\boxed{" + "1+" * 600 + "1}"])
def test_no_answer_or_one_beyond_all_measure_is_wrong_with_nothing_extracted(grader: MathGrader, answer: str):
    assert graded(grader, "5", answer) == Grade(False, None)


@pytest.mark.slow
def test_an_answer_that_hangs_the_comparison_has_no_grade_and_the_next_one_has(grader: MathGrader):
    hung = graded(grader, "5", rf"\boxed{{{HANGS}}}")
    assert (hung.correct, hung.extracted) == (None, HANGS)
    assert hung.error == "the comparison took more than 2 s of processor time"
    assert graded(grader, r"\frac14", r"\boxed{0.25}").correct is True


def test_many_threads_get_each_their_own_grade(grader: MathGrader):
    def grade(number: int) -> bool | None:
        return graded(grader, rf"\frac{{{number}}}{{7}}", rf"\boxed{{\frac{{{number + number % 2}}}{{7}}}}").correct

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(grade, range(1, 41))) == [number % 2 == 0 for number in range(1, 41)]


def test_a_process_forked_from_this_one_asks_a_process_of_its_own(grader: MathGrader):
    graded(grader, r"\frac14", r"\boxed{0.25}")
    process = grader.equality.child.process
    assert process is not None

    def grade_there() -> None:
        same = graded(grader, r"\frac13", r"\boxed{2/6}").correct
        own = grader.equality.child.process
        ok = same is True and own is not None and own.pid != process.pid
        grader.equality.close()
        os._exit(0 if ok else 1)

    child = multiprocessing.get_context("fork").Process(target=grade_there)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert process.poll() is None
    assert graded(grader, r"\frac14", r"\boxed{0.26}").correct is False


def test_a_process_that_was_killed_is_started_again():
    equality = MathEquality()
    assert equality.equal("1/2", "0.5")
    assert equality.child.process is not None
    os.kill(equality.child.process.pid, signal.SIGKILL)
    equality.child.process.wait()
    assert equality.equal("1/2", "2/4")
    equality.close()


def test_a_process_that_says_nothing_is_given_up():
    equality = MathEquality(processor_seconds=600, wall_seconds=1)
    with pytest.raises(ComparisonError, match="did not end within 1 s"):
        equality.equal("5", HANGS)
    assert equality.child.process is not None
    assert equality.child.process.returncode == -signal.SIGKILL
