"""Benchmarks of two models compared problem by problem, and what can't be compared."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from safechain_ray.cli import app
from safechain_ray.commands.compare_models import compare_benchmarks
from safechain_ray.errors import InputError
from safechain_ray.report.comparison import benchmark_comparison_document
from safechain_ray.report.renderers import markdown
from tests.made_benchmarks import Grades, finished


def made(folder: Path, name: str, grades: Grades, **keys: Any) -> str:
    place = folder / name
    place.mkdir()
    finished(place, grades, **keys)
    return str(place / "run")


def test_each_further_run_is_held_against_the_first_problem_by_problem(tmp_path: Path) -> None:
    first = made(tmp_path, "first", {0: False, 1: None})
    comparison = compare_benchmarks([first, made(tmp_path, "second", {2: False, 3: False})])
    (each,) = comparison.differences
    assert (each.benchmark, each.k, each.n, each.left_out) == ("gsm8k", 1, 3, 1)
    assert (each.first, each.second) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (each.p_value, each.p_adjusted) == (1.0, 1.0)
    assert each.value == pytest.approx(-1 / 3)
    text = markdown(benchmark_comparison_document(comparison))
    assert "| gsm8k | pass@1 | 66.7; 33.3 | -33.3; " in text


def test_pass_at_k_is_compared_where_k_is_the_same(tmp_path: Path) -> None:
    k = {"samples": 2, "sampling.temperature": 0.6}
    two = [made(tmp_path, name, {0: False}, **k) for name in ("first", "second")]
    assert [each.k for each in compare_benchmarks(two).differences] == [1, 2]
    one = made(tmp_path, "third", {})
    assert [each.k for each in compare_benchmarks([one, two[0]]).differences] == [1]


def test_a_benchmark_in_two_styles_is_left_out(tmp_path: Path) -> None:
    runs = [made(tmp_path, name, {}) for name in ("first", "second")]
    place = Path(runs[1]) / "metrics.json"
    metrics = json.loads(place.read_text())
    other = {**metrics["benchmarks"][0], "style": "evalplus"}
    place.write_text(json.dumps({**metrics, "benchmarks": [other]}))
    with pytest.raises(InputError, match="in common: the first has gsm8k, the second has gsm8k in style evalplus"):
        compare_benchmarks(runs)


def test_what_is_no_other_benchmark_run_is_refused(tmp_path: Path) -> None:
    run = made(tmp_path, "first", {})
    with pytest.raises(InputError, match="named twice"):
        compare_benchmarks([run, run])
    with pytest.raises(InputError, match="holds no benchmarks"):
        compare_benchmarks([run, str(tmp_path)])


def test_the_command_compares_benchmarks_too(tmp_path: Path) -> None:
    runs = [made(tmp_path, name, {0: False}) for name in ("first", "second")]
    result = CliRunner().invoke(app, ["compare", *runs])
    assert result.exit_code == 0, result.output
    assert "pass@1" in result.stdout
    refused = CliRunner().invoke(app, ["compare", *runs, "--paper"])
    assert (refused.exit_code, "these are benchmarks" in refused.stderr) == (2, True)
