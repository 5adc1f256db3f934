"""Benchmark problems and their loader, grades, the grader protocol with its registry, and the grader by terms.

A built-in grader is a module with a `build` function, a line of `GRADERS`, and a name among the catalog's kinds. Users'
catalogs add others.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal, Protocol

from safechain_ray import catalog
from safechain_ray.catalog.benchmark_entries import BenchmarkEntry, GraderKind
from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.files import read_file
from safechain_ray.datasets.hub import local_copy
from safechain_ray.datasets.loading import SHOWN_PROBLEMS, or_correct, read_records
from safechain_ray.datasets.records import BrokenText, Records
from safechain_ray.errors import InputError
from safechain_ray.types import Sample, short_hash

Graded = Literal["answer", "response", "generated"]
"""The graded part of a sample: the answer after the thought, the whole response, or the generated text."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One item of a benchmark. `reference` is the grader's input (a gold answer, tests) as JSON values."""

    problem_id: str
    prompt: str
    reference: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Grade:
    """`correct` is None if the grader itself failed; `error` then names the reason.

    `extracted` is the extracted answer. None means that none was found, which is wrong and not missing. A wrong answer
    may have an `error` too, such as the failure of its code.
    """

    correct: bool | None
    extracted: str | None = None
    error: str | None = None


class Grader(Protocol):
    """Grades answers. Called by many threads and processes at once; equal answers always get equal grades.

    A class of a user's catalog is created without arguments. It may set `runs_code` (False), `reads` ("answer") and
    `version` (1), as a `GraderEntry` has them.
    """

    def grade(self, problem: Problem, answer: str) -> Grade: ...


@dataclass(frozen=True, slots=True)
class GraderEntry:
    """Module and properties of a grader.

    `runs_code`: the grader executes code of a model, which requires a sandbox. `reads`: the graded part of a sample.
    `version` is increased whenever the same text may get another grade than before.
    """

    module: str
    runs_code: bool = True
    build: str = "build"
    reads: Graded = "answer"
    version: int = 1


GRADERS: Mapping[GraderKind, GraderEntry] = {
    "math": GraderEntry("math_grader", runs_code=False, version=2),
    "code_completion": GraderEntry("code_tests", build="build_completion", version=2),
    "code_completion_evalplus": GraderEntry("code_tests", build="build_completion_evalplus", reads="generated"),
    "code_asserts": GraderEntry("code_tests", build="build_asserts", version=2),
    "code_asserts_evalplus": GraderEntry("code_tests", build="build_asserts_evalplus", reads="generated"),
    "code_tests": GraderEntry("code_tests", version=2),
    "code_tests_skythought": GraderEntry("code_tests", build="build_skythought", reads="response"),
    "terms": GraderEntry("base", runs_code=False, build="build_terms"),
}


def make_grader(kind: GraderKind) -> Grader:
    """A built-in grader. It may own child processes, so share one among all threads of a process."""
    entry = GRADERS[kind]
    grader: Grader = getattr(import_module(f"{__package__}.{entry.module}"), entry.build)()
    return grader


def grader_entry(entry: BenchmarkEntry) -> GraderEntry:
    """The properties of a benchmark's grader. Raises InputError for code that can't be loaded."""
    if not catalog.is_code(entry.grader):
        return GRADERS[entry.grader]  # type: ignore[index]  # checked by the entry
    code = grader_builder(entry)
    known = {name: getattr(code, name) for name in ("reads", "version") if hasattr(code, name)}
    return GraderEntry(entry.grader, runs_code=getattr(code, "runs_code", False), **known)


def grader_builder(entry: BenchmarkEntry) -> Callable[[], Grader]:
    """What makes the benchmark's grader. Raises InputError for code that can't be loaded."""
    if catalog.is_code(entry.grader):
        build: Callable[[], Grader] = catalog.code_of("benchmarks", entry.name, entry.grader)
        return build
    return partial(make_grader, entry.grader)  # type: ignore[arg-type]  # checked by the entry


def grade_sample(grader: Grader, problem: Problem, sample: Sample, reads: Graded = "answer") -> Grade:
    """The grade of one sample. If the grader fails, or there is no response, the grade is missing, with the reason."""
    text = graded_text(sample, reads)
    if text is None:
        return Grade(None, error=f"no response to grade: outcome {sample.outcome}")
    try:
        return grader.grade(problem, text)
    except Exception as error:
        return Grade(None, error=f"{type(error).__name__}: {error}")


def graded_text(sample: Sample, reads: Graded = "answer") -> str | None:
    """The graded part of the sample; None without a response.

    The answer is empty (and so wrong) if the thought was truncated. The whole response is graded if there is no thought
    to
    remove: for models without thinking tags, and for a response that ended by itself with an open thought.
    """
    if sample.response is None:
        return None
    if reads == "response":
        return sample.response
    if reads == "generated":
        return sample.response.removeprefix(sample.prefill)
    left_open = sample.outcome == "truncated" and sample.finish_reason == "stop"
    return sample.response if sample.answer is None or left_open else sample.answer


@dataclass(frozen=True, slots=True)
class TermsGrader:
    """Correct is an answer that contains one of the terms `any_of` in the problem's reference.

    Terms match as whole words in any case. The first match in the answer is the extracted one.
    """

    def grade(self, problem: Problem, answer: str) -> Grade:
        terms = "|".join(re.escape(str(term)) for term in problem.reference["any_of"])
        found = re.search(rf"(?<!\w)(?:{terms})(?!\w)", answer, re.IGNORECASE)
        return Grade(correct=found is not None, extracted=found[0] if found else None)


def build_terms() -> Grader:
    return TermsGrader()


def with_source(entry: BenchmarkEntry, source: str) -> BenchmarkEntry:
    """The benchmark read from another source with the same columns: a file, a URI, or a folder or id of the hub.

    The number of rows is not checked then, so that a part of a benchmark can be run.

    Raises:
        InputError: `source` is none of these.
    """
    location = {"kind": adhoc_entry(source).kind, "source": source, "more_files": ()}
    return entry.model_copy(update={**location, "config": None, "revision": None, "rows": None})


def load_problems(entry: BenchmarkEntry, limit: int | None = None) -> tuple[Problem, ...]:
    """Load the problems in their order, at most `limit`.

    An id is the id column as text, or 12 hexadecimal digits of a hash of the prompt.

    Raises:
        InputError: the benchmark can't be read, misses a column or has another number of rows than `entry.rows`. Also
            for rows that can't be problems, all in one message: a benchmark with missing problems is another benchmark.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: {limit} is too small. Fix: give 1 or more problems.")
    records = _read_all(entry)
    for column in entry.columns:
        fix = f"Fix: give a file with the columns that benchmark {entry.name!r} reads: {', '.join(entry.columns)}"
        key = (
            "id_column"
            if column == entry.id_column
            else "reference"
            if column in entry.reference.values()
            else "prompt"
        )
        records.check_column(column, f"{fix}{or_correct(entry, key)}.")
    if entry.rows is not None and len(records.rows) != entry.rows:
        raise InputError(
            f"{records.source} has {len(records.rows)} rows, but benchmark {entry.name!r} has {entry.rows}: it is "
            f"another version, or a part of it. Fix: to use it as it is, give --benchmark {entry.name}=PATH"
            f"{or_correct(entry, 'rows')}."
        )
    first_rows: dict[str, int] = {}
    problems, refusals = [], []
    for number, row in enumerate(records.rows, start=1):
        found = _problem(entry, row)
        if isinstance(found, Problem) and first_rows.setdefault(found.problem_id, number) != number:
            found = f"repeats the id {found.problem_id!r} of row {first_rows[found.problem_id]}"
        if isinstance(found, Problem):
            problems.append(found)
        else:
            refusals.append(f"\n  row {number}: {found}")
    if refusals:
        more = f"\n  and {len(refusals) - SHOWN_PROBLEMS} more" if len(refusals) > SHOWN_PROBLEMS else ""
        raise InputError(
            f"{records.source} has {len(refusals)} rows that can't be problems of {entry.name!r}:"
            f"{''.join(refusals[:SHOWN_PROBLEMS])}{more}\nFix: correct these rows, or remove them."
        )
    return tuple(problems[:limit])


def _read_all(entry: BenchmarkEntry) -> Records:
    first = read_records(entry)
    folder = entry.source.rpartition("/")[0]
    rest = [read_file(f"{folder}/{name}", local_copy=local_copy(entry)) for name in entry.more_files]
    columns = tuple(dict.fromkeys(column for part in (first, *rest) for column in part.columns))
    return Records(columns, [row for part in (first, *rest) for row in part.rows], first.source)


def _problem(entry: BenchmarkEntry, row: Mapping[str, object]) -> Problem | str:
    """The row as a problem, or the reason why it is none."""
    nulls = [column for column in entry.columns if row.get(column) is None]
    if nulls:
        return f"no value in {', '.join(nulls)}"
    broken = next((value for column in entry.columns if isinstance(value := row[column], BrokenText)), None)
    if broken is not None:
        return f"a value {broken.problem}"
    template = next((each for column, each in entry.prompt_without.items() if not row[column]), entry.prompt)
    try:
        prompt = template.format_map(_stripped(row) if entry.strip else row)
    except (IndexError, KeyError, TypeError) as error:
        return f"the prompt can't be formatted ({type(error).__name__}: {error})"
    if not prompt.strip():
        return "the prompt is empty"
    problem_id = short_hash(prompt, characters=12) if entry.id_column is None else str(row[entry.id_column]).strip()
    if not problem_id:
        return f"the id ({entry.id_column}) is empty"
    return Problem(problem_id, prompt, {name: row[column] for name, column in entry.reference.items()})


def _stripped(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value.strip() if isinstance(value, str) else value for name, value in row.items()}
