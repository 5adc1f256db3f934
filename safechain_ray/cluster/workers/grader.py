"""Grader: plain Ray tasks that grade the samples of a benchmark, one CPU and one block each, code in a sandbox."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from safechain_ray.benchmarks.base import Grade, Grader, Problem, grade_sample, grader_builder, grader_entry
from safechain_ray.benchmarks.sandbox import why_no_sandbox
from safechain_ray.catalog.benchmark_entries import BenchmarkEntry
from safechain_ray.cluster.progress import REPORT_INTERVAL
from safechain_ray.cluster.workers.writer import block_counts
from safechain_ray.errors import SandboxError
from safechain_ray.types import samples_from_table
from safechain_ray.types.tables import with_grades

GRADING = "grading"
"""The name of the pool of graders in progress reports."""


class SharedProblems:
    """The problems of a benchmark in the object store. Nodes fetch single problems, as all of them may be gigabytes."""

    def __init__(self, entry: BenchmarkEntry, problems: Iterable[Problem]) -> None:
        self.grader = entry.grader
        self.reads = grader_entry(entry).reads
        self.build = grader_builder(entry)  # on the driver: other nodes may lack a user's catalog
        self._references = {problem.problem_id: ray.put(problem) for problem in problems}

    def fetch(self, problem_id: str) -> Problem:
        problem: Problem = ray.get(self._references[problem_id])
        return problem


class BlockGrader:
    """Grades the samples of a block one after the other: from a table of samples to a table of graded samples.

    `problems` has the problems of each benchmark by its name.
    """

    def __init__(self, problems: Mapping[str, SharedProblems], progress_tracker: Any) -> None:
        self._problems = problems
        self._progress_tracker = progress_tracker
        self._stream = uuid4().hex

    def __call__(self, batch: pa.Table) -> pa.Table:
        grades = []
        with _progress(self._stream).reported_to(self._progress_tracker) as counts:
            counts["rows_in"] += batch.num_rows
            for sample in samples_from_table(batch):
                problems = self._problems[sample.dataset]
                grader = _grader(problems)
                grade = grade_sample(grader, problems.fetch(sample.prompt_id), sample, problems.reads)
                grades.append(_row(problems.grader, grade))
                counts["rows_out"] += 1
        return with_grades(batch, grades)


def grade_counts(batch: pa.Table) -> dict[str, int]:
    """The counts of a block for the driver: rows, outcomes, tokens, and correct, wrong and ungraded answers."""
    counts = block_counts(batch)
    correct = pc.struct_field(batch["grade"], "correct")
    right = pc.sum(correct).as_py() or 0
    of_samples = {name: counts[name] for name in ("rows", "ok", "truncated", "blocked", "error", "tokens")}
    wrong = batch.num_rows - correct.null_count - right
    return {**of_samples, "correct": right, "wrong": wrong, "ungraded": correct.null_count}


def check_sandboxes() -> None:
    """Check the sandbox on every node that has CPUs now.

    Raises:
        SandboxError: A node can't run the sandbox. The message has the fix.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    task = ray.remote(num_cpus=0)(why_no_sandbox)
    # Soft: a node that leaves meanwhile must not fail the check.
    placements = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=True) for node in nodes]
    found = ray.get([task.options(scheduling_strategy=placement).remote() for placement in placements])
    faults = {node["NodeManagerHostname"]: fault for node, fault in zip(nodes, found, strict=True) if fault is not None}
    if faults:
        names = f"Node{'' if len(faults) == 1 else 's'} {', '.join(sorted(faults))}"
        raise SandboxError(f"{names} can't grade code, and no model was loaded. {next(iter(faults.values()))}")


class _Progress:
    """Counts of one stream's rows that the tasks of one worker process have graded.

    Seconds are counted too, as a sign of life for the watchdog: one grade may take longer than the stall timeout, and
    has a limit of its own.
    """

    def __init__(self) -> None:
        self._worker = uuid4().hex
        self._counts = Counter(rows_in=0, rows_out=0, seconds=0)

    @contextmanager
    def reported_to(self, progress_tracker: Any) -> Iterator[Counter[str]]:
        """Report the counts every second and at the end of the block, which adds to them."""
        ended = threading.Event()

        def report() -> None:
            progress_tracker.report.remote(GRADING, self._worker, True, self._counts.copy())

        def report_until_end() -> None:
            while not ended.wait(REPORT_INTERVAL):
                self._counts["seconds"] += 1
                report()

        threading.Thread(target=report_until_end, name="grading", daemon=True).start()
        try:
            yield self._counts
        finally:
            ended.set()
            report()


@cache
def _progress(stream: str) -> _Progress:
    return _Progress()


_graders: dict[str, Grader] = {}
_lock = threading.Lock()


def _grader(problems: SharedProblems) -> Grader:
    """One grader of a kind for each worker process: its own child process may take a second to start."""
    with _lock:
        if problems.grader not in _graders:
            _graders[problems.grader] = problems.build()
        return _graders[problems.grader]


def _row(grader: str, grade: Grade) -> dict[str, Any]:
    return {"grader": grader, "correct": grade.correct, "extracted": grade.extracted, "error": grade.error}
