"""Loader of benchmark problems: reads rows, formats prompts and validates ids and references."""

from collections.abc import Mapping

from safechain_ray.benchmarks.base import Problem
from safechain_ray.catalog.benchmark_entries import BenchmarkEntry
from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.files import read_file
from safechain_ray.datasets.loading import SHOWN_PROBLEMS, read_records
from safechain_ray.datasets.records import BrokenText, Records
from safechain_ray.errors import InputError
from safechain_ray.types import short_hash


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
        raise InputError(f"limit is {limit}; the number of problems must be 1 or more.")
    records = _read_all(entry)
    for column in entry.columns:
        records.check_column(column, f"Benchmark {entry.name!r} reads {', '.join(entry.columns)}.")
    if entry.rows is not None and len(records.rows) != entry.rows:
        raise InputError(
            f"{records.source} has {len(records.rows)} rows, but benchmark {entry.name!r} has {entry.rows}: it is "
            "another version, or a part of it. Fix: to use it as it is, give a local copy."
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
    rest = [read_file(f"{folder}/{name}") for name in entry.more_files]
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
