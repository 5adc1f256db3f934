"""The published solutions of HumanEval and MBPP pass in the sandbox; with a result thrown away each of them fails.

A sample of them in `make test`, all of them in `make test-long`.
"""

import ast
import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from safechain_ray.benchmarks.base import Grade, Grader, Problem
from safechain_ray.benchmarks.code_tests import build_asserts as asserts
from safechain_ray.benchmarks.code_tests import build_completion as completion
from tests.real_data import real, real_data_marks
from tests.sandboxes import needs_sandbox

DATA = real("data")

Solved = tuple[Grader, Problem, str, list[str]]
"""A problem with its grader, its solution and the functions of that which the tests call."""

pytestmark = [
    needs_sandbox,
    *real_data_marks("data"),
    pytest.mark.filterwarnings("ignore:invalid escape sequence"),
]


def human_eval() -> Iterator[Solved]:
    with gzip.open(DATA / "HumanEval.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            problem = Problem(row["task_id"], row["prompt"], row)
            yield completion(), problem, row["prompt"] + row["canonical_solution"], [row["entry_point"]]


def mbpp() -> Iterator[Solved]:
    with (DATA / "mbpp.jsonl").open() as file:
        for row in map(json.loads, file):
            yield asserts(), Problem(str(row["task_id"]), row["text"], row), row["code"], called_functions(row)


def called_functions(row: dict[str, Any]) -> list[str]:
    defined = {node.name for node in ast.parse(row["code"]).body if isinstance(node, ast.FunctionDef)}
    used = {node.id for node in ast.walk(ast.parse("\n".join(row["test_list"]))) if isinstance(node, ast.Name)}
    return sorted(defined & used)


def returning_nothing(code: str, functions: list[str]) -> str:
    return code + "".join(f"\n\ndef {name}(*args, **kwargs):\n    return None\n" for name in functions)


def grades(solved: list[Solved], *, mutated: bool) -> dict[str, Grade]:
    def grade(each: Solved) -> Grade:
        grader, problem, code, functions = each
        return grader.grade(problem, f"```python\n{returning_nothing(code, functions) if mutated else code}\n```")

    with ThreadPoolExecutor(2) as threads:
        return dict(zip([problem.problem_id for _, problem, *_ in solved], threads.map(grade, solved), strict=True))


def others(found: dict[str, Grade], correct: bool) -> dict[str, Grade]:
    return {name: grade for name, grade in found.items() if grade.correct is not correct}


def test_every_twentieth_solution_passes_and_every_fortieth_fails_without_its_result() -> None:
    solved = [*human_eval(), *mbpp()]
    assert others(grades(solved[::20], mutated=False), True) == {}
    assert others(grades(solved[::40], mutated=True), False) == {}


def test_every_tenth_completion_passes_without_its_signature() -> None:
    bodies = [(problem, problem.reference["canonical_solution"]) for _, problem, *_ in list(human_eval())[::10]]
    assert {problem.problem_id for problem, body in bodies if not completion().grade(problem, body).correct} == set()


@pytest.mark.long
@pytest.mark.parametrize(("benchmark", "problems"), [(human_eval, 164), (mbpp, 974)])
def test_all_solutions_pass_and_all_fail_without_their_result(benchmark: Any, problems: int) -> None:
    solved = list(benchmark())
    assert len(solved) == problems
    assert others(grades(solved, mutated=False), True) == {}
    assert others(grades(solved, mutated=True), False) == {}
