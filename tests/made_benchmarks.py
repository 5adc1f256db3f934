"""Benchmark runs whose every sample is there and graded already: what comes after needs neither Ray nor an engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safechain_ray.commands.benchmark import Benchmarked, benchmark
from safechain_ray.commands.resolve_benchmark import resolve_benchmarks
from safechain_ray.config import BenchmarkConfig, read_config_as
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.record import RunRecord
from safechain_ray.storage import open_folder
from safechain_ray.testing import Script, ScriptedEngines, sample
from safechain_ray.types import samples_table
from safechain_ray.types.tables import with_grades
from tests.small_benchmarks import sums_file

Grades = Mapping[int, bool | None]
"""By the sample's number."""


def config(folder: Path, **keys: Any) -> BenchmarkConfig:
    """Four sums for the demo model; `keys` win."""
    usual = {
        "model": "demo-reasoner",
        "benchmarks": [{"name": "gsm8k", "source": str(sums_file(folder, 4))}],
        "output": str(folder / "run"),
    }
    return read_config_as(BenchmarkConfig, None, {**usual, **keys})


def finished(folder: Path, grades: Grades, **keys: Any) -> Benchmarked:
    """A run in which sample number n is `grades[n]`, right where that says nothing; one without a grade was blocked."""
    wanted = config(folder, **keys)
    resolved = resolve_benchmarks(wanted)
    run = RunFolder(open_folder(str(folder / "run")))
    RunRecord.resumed(run, wanted, resolved.identity(), resolved.facts())
    correct = [grades.get(number, True) for number in range(len(resolved.run.sample_specs))]
    samples = [
        sample(
            item.setting,
            prompt_id=item.prompt.prompt_id,
            sample_index=item.sample_index,
            prompt=item.prompt.text,
            **({"outcome": "blocked", "answer": None, "response": None} if is_correct is None else {}),
        )
        for item, is_correct in zip(resolved.run.sample_specs, correct, strict=True)
    ]
    run.samples.write_parquet("all.parquet", with_grades(samples_table(samples), list(map(_grade, correct))))
    return go_on(wanted)


def go_on(wanted: BenchmarkConfig) -> Benchmarked:
    return benchmark(
        wanted, RecordingReporter(), ScriptedEngines({"package://demo-reasoner": Script(start_error="no engine")})
    )


def _grade(correct: bool | None) -> dict[str, Any]:
    return {"grader": "math", "correct": correct, "extracted": "4", "error": None if correct is not None else "blocked"}
