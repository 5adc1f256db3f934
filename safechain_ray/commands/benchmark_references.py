"""Reference answers of a benchmark run: a file for readers, so that a wrong answer is shown beside the right one.

The graders read references from the data set. The report of a run is made later, where the data set may be absent.
"""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from safechain_ray.benchmarks.base import Problem
from safechain_ray.runs.folder import RunFolder

REFERENCES = "references.parquet"

SCHEMA = pa.schema([(name, pa.string()) for name in ("dataset", "prompt_id", "reference")])

MOST_CHARACTERS = 4_000
"""Tests of one problem may have a megabyte."""

SHOWN_KEYS = ("gold", "any_of", "test_list", "test")
"""Fields of a reference that a person can read; the first that a problem has is shown."""


def write_references(folder: RunFolder, problems: Mapping[str, Iterable[Problem]]) -> None:
    """Write the references of all problems that have one to show; `problems` go by the benchmark's name."""
    rows = [
        {"dataset": name, "prompt_id": problem.problem_id, "reference": shown}
        for name, asked in problems.items()
        for problem in asked
        if (shown := shown_reference(problem)) is not None
    ]
    folder.folder.write_parquet(REFERENCES, pa.Table.from_pylist(rows, SCHEMA))


def read_references(folder: RunFolder) -> dict[tuple[str, str], str]:
    """The references by benchmark and problem; none in a run of an earlier version."""
    if not folder.folder.exists(REFERENCES):
        return {}
    table = folder.folder.read_parquet(REFERENCES, columns=SCHEMA.names)
    return {(row["dataset"], row["prompt_id"]): row["reference"] for row in table.to_pylist()}


def shown_reference(problem: Problem) -> str | None:
    """The gold answer, or the tests that an answer must pass, cut to `MOST_CHARACTERS`. None for any other reference.

    Example:
        >>> shown_reference(Problem("1", "What is 6 times 7?", {"gold": "42"}))
        '42'
    """
    found = next((problem.reference[key] for key in SHOWN_KEYS if key in problem.reference), None)
    if found is None:
        return None
    text = "\n".join(map(str, found)) if isinstance(found, list | tuple) else str(found)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
