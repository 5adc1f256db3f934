"""Benchmarks on a real Ray cluster of two nodes, with scripted engines: grades, figures, stops, grading again."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray import cloudpickle

from safechain_ray.cluster.workers import grader
from safechain_ray.commands.benchmark import Benchmarked, benchmark
from safechain_ray.config import BenchmarkConfig, read_config_as
from safechain_ray.decoding.evalplus import RESPONSE_PREFIX
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import RunConflictError, SandboxError
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types.tables import GRADED_SCHEMA
from tests import small_benchmarks
from tests.cluster.scripted_runs import MODEL, Runner
from tests.sandboxes import needs_sandbox
from tests.small_benchmarks import (
    ANSWERED,
    FUNCTIONS,
    SUMS,
    answer,
    behind_an_opened_block,
    functions_file,
    start_stuck,
    sums_file,
)

pytestmark = pytest.mark.usefixtures("one_driver")

cloudpickle.register_pickle_by_value(small_benchmarks)  # the nodes can't import it

NO_ENGINE = Script(start_error="no engine may start")


class StoppedError(Exception):
    """The driver is stopped in the middle."""


class Benchmarks:
    """Benchmarks with scripted engines into one folder; the same call again continues."""

    def __init__(self, run: Runner) -> None:
        self.run = run
        self.reporter = RecordingReporter()

    def __call__(
        self,
        files: dict[str, Path],
        script: Script | StartEngine,
        on_update: Callable[[Snapshot], None] = lambda snapshot: None,
        **flags: Any,
    ) -> Benchmarked:
        usual = {
            "model": "demo-reasoner",
            "benchmarks": [{"name": name, "source": str(path)} for name, path in files.items()],
            "sampling.max_tokens": 100,
            "output": str(self.run.output),
            "resources.ray_address": self.run.address,
            "resources.block_rows": 4,
            "resources.max_running": 4,
        }
        self.reporter = RecordingReporter(on_update)
        config = read_config_as(BenchmarkConfig, None, {**usual, **flags})
        start = ScriptedEngines({MODEL: script}) if isinstance(script, Script) else script
        return benchmark(config, self.reporter, start)

    def solved(self, done: Benchmarked) -> dict[str, float | None]:
        return {each.dataset: each.grades.pass_at[1].value for each in done.metrics.benchmarks}


@pytest.fixture
def benchmarks(run: Runner) -> Benchmarks:
    return Benchmarks(run)


def stop_after(rows: int) -> Callable[[Snapshot], None]:
    def stop(snapshot: Snapshot) -> None:
        if snapshot.done >= rows:
            raise StoppedError

    return stop


@needs_sandbox
def test_benchmarks_stopped_in_the_middle_go_on_and_grade_every_answer_once(
    benchmarks: Benchmarks, tmp_path: Path
) -> None:
    files = {"gsm8k": sums_file(tmp_path), "mbpp": functions_file(tmp_path)}
    with pytest.raises(StoppedError):
        benchmarks(files, start_stuck, on_update=stop_after(ANSWERED))
    found = len(benchmarks.run.rows)
    assert found == ANSWERED

    done = benchmarks(files, Script(answer=answer))

    rows = benchmarks.run.rows
    assert len({row["sample_id"] for row in rows}) == len(rows) == SUMS + FUNCTIONS
    assert done.committed == SUMS + FUNCTIONS - found
    assert benchmarks.solved(done) == {"gsm8k": 0.5, "mbpp": 0.25}
    sums, functions = done.metrics.benchmarks
    assert (sums.outcomes["truncated"], sums.grades.missing, functions.grades.missing) == (SUMS // 4, 0, 0)
    assert (sums.sampling["repetition_penalty"], functions.sampling["repetition_penalty"]) == (1.0, 1.1)
    assert all(row["grade"]["extracted"] is None for row in rows if row["outcome"] == "truncated")
    assert Counter(row["grade"]["grader"] for row in rows) == {"math": SUMS, "code_asserts": FUNCTIONS}
    assert json.loads((benchmarks.run.output / "run.json").read_text())["tries"][-1]["pools"]["grading"]["rows_out"]

    assert benchmarks(files, NO_ENGINE).committed == 0


def test_an_answer_whose_grading_failed_is_graded_again_without_an_engine(
    benchmarks: Benchmarks, tmp_path: Path
) -> None:
    files = {"gsm8k": sums_file(tmp_path, 8)}
    refused = Script(answer=answer, refuses=lambda request: "is 5 plus" in request.prompt)
    first = benchmarks(files, refused)
    assert (first.errors, benchmarks.solved(first)["gsm8k"]) == (1, pytest.approx(3 / 7))
    # The file of the row that is to be generated again has one that is only to be graded again.
    lost = lose_grades(benchmarks.run.output, 3)

    done = benchmarks(files, Script(answer=answer))
    assert (done.errors, done.committed) == (0, lost + 1)
    assert benchmarks.solved(done) == {"gsm8k": 0.5}

    lost = lose_grades(benchmarks.run.output, 1)
    again = benchmarks(files, NO_ENGINE)
    assert (again.errors, again.committed, benchmarks.solved(again)) == (0, lost, {"gsm8k": 0.5})
    assert len({row["sample_id"] for row in benchmarks.run.rows}) == len(benchmarks.run.rows) == 8
    assert "graded again" in " ".join(benchmarks.reporter.sentences)


@needs_sandbox
def test_nodes_without_a_sandbox_are_named_before_an_engine_starts(
    benchmarks: Benchmarks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grader, "why_no_sandbox", lambda: "No code of a model is run: there is no bwrap.")
    with pytest.raises(SandboxError, match=r"can't grade code, and no model was loaded\..* there is no bwrap"):
        benchmarks({"mbpp": functions_file(tmp_path)}, NO_ENGINE)
    assert not benchmarks.run.output.joinpath("samples").exists()


def test_other_problems_in_the_same_output_are_refused(benchmarks: Benchmarks, tmp_path: Path) -> None:
    k = {"samples": 3, "sampling.temperature": 0.6}
    done = benchmarks({"gsm8k": sums_file(tmp_path, 4)}, Script(answer=answer), **k)
    assert set(done.metrics.benchmarks[0].grades.pass_at) == {1, 3}

    other = tmp_path / "other.jsonl"
    other.write_text((tmp_path / "sums.jsonl").read_text().replace("#### 6", "#### 7"))
    with pytest.raises(RunConflictError, match=r"benchmarks\.gsm8k\.problems"):
        benchmarks({"gsm8k": other}, NO_ENGINE, **k)


def lose_grades(output: Path, count: int) -> int:
    """Make the first answers of each file into some whose grading failed; gives how many."""
    lost = 0
    for path in sorted(output.glob("samples/*.parquet")):
        rows = pq.read_table(path).to_pylist()
        for row in [row for row in rows if row["outcome"] != "error"][:count]:
            row["grade"] |= {"correct": None, "error": "the grader was not at home"}
            lost += 1
        pq.write_table(pa.Table.from_pylist(rows, schema=GRADED_SCHEMA), path)
    return lost


@needs_sandbox
def test_a_style_begins_the_answer_and_its_run_is_another_one(benchmarks: Benchmarks, tmp_path: Path) -> None:
    choice = {"name": "mbpp", "source": str(functions_file(tmp_path))}
    styled = {"benchmarks": [{**choice, "style": "evalplus"}], "sampling.max_tokens": 768}
    done = benchmarks({}, Script(answer=behind_an_opened_block), **styled)
    # The mischief of every fourth answer is no part of its function, so it is not run.
    assert benchmarks.solved(done) == {"mbpp": 0.5}
    rows = benchmarks.run.rows
    assert {(row["strategy"], row["prefill"] == RESPONSE_PREFIX, row["thought"]) for row in rows} == {
        ("evalplus", True, "")
    }
    assert {row["grade"]["grader"] for row in rows} == {"code_asserts_evalplus"}
    assert done.metrics.benchmarks[0].style == "evalplus"
    with pytest.raises(RunConflictError, match=r"benchmarks\.mbpp\.style: \"evalplus\" -> \"\(absent\)\""):
        benchmarks({}, NO_ENGINE, **{**styled, "benchmarks": [choice]})


def test_a_run_from_before_graders_had_versions_is_graded_again_without_an_engine(
    benchmarks: Benchmarks, tmp_path: Path
) -> None:
    files = {"gsm8k": sums_file(tmp_path, 8)}
    benchmarks(files, Script(answer=answer))
    record = benchmarks.run.output / "run.json"
    record.write_text(
        json.dumps({key: value for key, value in json.loads(record.read_text()).items() if key != "graders"})
    )
    grade_wrongly(benchmarks.run.output)

    done = benchmarks(files, NO_ENGINE)
    assert (done.errors, done.committed, benchmarks.solved(done)) == (0, 8, {"gsm8k": 0.5})
    assert "8 answers were graded by an earlier version" in " ".join(benchmarks.reporter.sentences)
    assert len({row["sample_id"] for row in benchmarks.run.rows}) == len(benchmarks.run.rows) == 8
    assert benchmarks(files, NO_ENGINE).committed == 0


def grade_wrongly(output: Path) -> None:
    for path in sorted(output.glob("samples/*.parquet")):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row["grade"] |= {"correct": False}
        pq.write_table(pa.Table.from_pylist(rows, schema=GRADED_SCHEMA), path)
