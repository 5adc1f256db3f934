"""Benchmarks before a model loads and after the last grade: what they are, what they refuse, what they leave."""

import json
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.benchmarks.sandbox import running
from safechain_ray.commands.benchmark import drop_old_grades, repair_graded
from safechain_ray.commands.resolve_benchmark import ResolvedBenchmarks, resolve_benchmarks
from safechain_ray.commands.status import read_status
from safechain_ray.errors import InputError, RunConflictError, SandboxError
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.runs.record import RunRecord
from safechain_ray.storage import open_folder
from safechain_ray.testing import sample
from safechain_ray.types import Sample, samples_table
from safechain_ray.types.tables import with_grades
from tests.made_benchmarks import config, finished, go_on
from tests.made_runs.stored import read_tree, write_tree
from tests.small_benchmarks import functions_file, sums_file

RIGHT = {"grader": "math", "correct": True, "extracted": "4", "error": None}
FAILED = RIGHT | {"correct": None, "error": "it hung"}


def both(folder: Path) -> dict[str, Any]:
    files = {"gsm8k": sums_file(folder, 4), "mbpp": functions_file(folder, 2)}
    return {"benchmarks": [{"name": name, "source": str(path)} for name, path in files.items()]}


def test_every_benchmark_is_a_setting_with_its_own_penalty_unless_one_is_given(tmp_path: Path) -> None:
    settings = resolve_benchmarks(config(tmp_path, **both(tmp_path))).run.settings
    assert [(each.dataset, each.sampling.repetition_penalty, each.sampling.greedy) for each in settings] == [
        ("gsm8k", 1.0, True),
        ("mbpp", 1.1, True),
    ]
    given = resolve_benchmarks(config(tmp_path, **both(tmp_path), **{"sampling.repetition_penalty": 1.2}))
    assert {each.sampling.repetition_penalty for each in given.run.settings} == {1.2}
    assert given.run_code == ("mbpp",)


def test_what_is_asked_and_what_the_grader_reads_make_the_identity_and_the_place_does_not(tmp_path: Path) -> None:
    asked = config(tmp_path)
    one = resolve_benchmarks(asked)
    (tmp_path / "elsewhere").mkdir()
    assert resolve_benchmarks(config(tmp_path / "elsewhere")).identity() == one.identity()
    sums = tmp_path / "sums.jsonl"
    sums.write_text(sums.read_text().replace("#### 6", "#### 7"))
    assert resolve_benchmarks(asked).identity() != one.identity()


def test_answers_that_are_divided_by_other_rules_are_graded_in_another_run(tmp_path: Path) -> None:
    assert resolve_benchmarks(config(tmp_path)).identity()["reading"] == 2
    assert "reading" not in resolve_benchmarks(config(tmp_path, strategy="zerothink")).identity()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"benchmarks": ["gsm9k"]}, "Did you mean 'gsm8k'"),
        ({"model": "R1-9B"}, "Unknown model"),
        ({"strategy": "zerothink", "model": "QwQ"}, "write none"),
        (
            {"samples": 2},
            r"benchmark gsm8k: wrong config\. Fix: correct each key below\.\n.*temperature 0 with 2 samples",
        ),
        ({"benchmarks": [{"name": "gsm8k", "source": "nowhere.jsonl"}]}, "nowhere.jsonl"),
    ],
)
def test_what_can_not_work_is_refused_before_anything_starts(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        go_on(config(tmp_path, **keys))


def test_code_is_refused_where_no_sandbox_works_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(running, "find_bubblewrap", lambda: None)
    running.working_backend.cache_clear()
    try:
        with pytest.raises(SandboxError, match="apt install bubblewrap"):
            go_on(config(tmp_path, **both(tmp_path)))
    finally:
        running.working_backend.cache_clear()
    assert not (tmp_path / "run" / "samples").exists()


def test_a_finished_run_is_measured_without_ray(tmp_path: Path) -> None:
    done = finished(tmp_path, {2: False})
    assert (done.committed, done.errors) == (0, 0)
    (sums,) = done.metrics.benchmarks
    assert sums.grades.pass_at[1].value == 0.75
    assert (sums.problems_published, sums.grades.problems) == (1319, 4)
    left = BenchmarkRunMetrics.model_validate_json((tmp_path / "run" / "metrics.json").read_text())
    assert left == done.metrics
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["outcomes"], record["rows"]) == ({"ok": 4, "truncated": 0, "blocked": 0, "error": 0}, 4)


def test_pass_at_k_is_told_of_k_samples_and_other_ks_are_no_other_run(tmp_path: Path) -> None:
    k = {"samples": 2, "sampling.temperature": 0.6}
    done = finished(tmp_path, {0: False, 2: False, 3: False}, **k)
    passed = done.metrics.benchmarks[0].grades.pass_at
    assert (passed[1].value, passed[2].value) == (0.625, 0.75)
    assert set(go_on(config(tmp_path, pass_at=[2], **k)).metrics.benchmarks[0].grades.pass_at) == {2}


def test_a_run_of_other_benchmarks_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    finished(tmp_path, {})
    with pytest.raises(RunConflictError, match=r"settings\.0\.sampling\.max_tokens: 16000 -> 5"):
        go_on(config(tmp_path, **{"sampling.max_tokens": 5}))


def test_it_has_a_status_and_is_no_run_that_judges_can_look_at(tmp_path: Path) -> None:
    done = finished(tmp_path, {})
    status = read_status(str(tmp_path / "run"))
    assert (status.kind, status.models[0].name, status.models[0].state) == ("benchmark", "demo-reasoner", "done")
    with pytest.raises(InputError, match="or benchmarks"):
        RunRecord.of_finished(done.folder)


def test_of_repeated_samples_a_graded_one_stays_and_one_without_a_grade_is_told(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path / "samples"))

    def write(name: str, *rows: tuple[Sample, dict[str, Any]]) -> None:
        samples, grades = zip(*rows, strict=True)
        folder.write_parquet(name, with_grades(samples_table(samples), grades))

    one, two, three = (sample(sample_id=name) for name in ("one", "two", "three"))
    write("a.parquet", (one, FAILED), (two, FAILED))
    write("b.parquet", (one, RIGHT), (three, RIGHT))
    index = repair_graded(folder, retry_errors=True)
    assert (set(index.completed), set(index.incomplete)) == ({"one", "two", "three"}, {"two"})
    assert index.repeated == 1
    assert index.completed["one"] == "b.parquet"
    assert index.incomplete["two"] in folder.list_files(".parquet")


def test_a_style_is_a_setting_with_its_own_strategy_and_tokens_and_another_identity(tmp_path: Path) -> None:
    def resolved(**style: str) -> ResolvedBenchmarks:
        choice = {"name": "mbpp", "source": str(functions_file(tmp_path, 2)), **style}
        return resolve_benchmarks(config(tmp_path, benchmarks=[choice]))

    evalplus = resolved(style="evalplus")
    (setting,) = evalplus.run.settings
    assert (setting.strategy.name, setting.sampling.max_tokens, setting.sampling.repetition_penalty) == (
        "evalplus",
        768,
        1.1,
    )
    assert evalplus.identity()["benchmarks"]["mbpp"]["style"] == "evalplus"
    default = resolved()
    assert default.identity() == resolved(style="default").identity()
    # The identity of a run from before there were styles, which continues.
    assert set(default.identity()["benchmarks"]["mbpp"]) == {"problems", "grader"}
    assert default.run.settings[0].setting_id != setting.setting_id


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"style": "evalplus"}, "Unknown style of benchmark gsm8k 'evalplus'.*Known: default"),
        ({"name": "mbpp", "style": "skythought"}, "Unknown style of benchmark mbpp 'skythought'.*default, evalplus"),
    ],
)
def test_a_style_that_a_benchmark_lacks_is_refused(tmp_path: Path, keys: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        go_on(config(tmp_path, benchmarks=[{"name": "gsm8k", **keys}]))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"strategy": "zerothink"}, "so does strategy 'zerothink'. Fix"),
        ({"model": "openai:gpt-x", "model.base_url": "http://127.0.0.1:9/v1"}, "an API takes whole turns only. Fix"),
        ({"strategy": "evalplus"}, "Unknown strategy 'evalplus'"),
    ],
)
def test_a_style_that_writes_the_start_of_the_answer_is_refused_where_it_can_not(
    tmp_path: Path, keys: dict[str, Any], says: str
) -> None:
    choice = {"name": "mbpp", "source": str(functions_file(tmp_path, 2)), "style": "evalplus"}
    model = {"name": keys["model"], "base_url": keys["model.base_url"]} if "model" in keys else "demo-reasoner"
    with pytest.raises(InputError, match=says):
        go_on(config(tmp_path, **{**keys, "model": model, "benchmarks": [choice]}))


def test_grades_of_an_earlier_grader_are_given_again_and_nothing_else_changes(tmp_path: Path) -> None:
    done = finished(tmp_path, {1: False, 2: None})
    stored = read_tree(done.folder)
    assert stored.pop("graders") == {"gsm8k": 2}
    write_tree(done.folder, stored)  # as a run of an earlier version left it
    resolved = resolve_benchmarks(config(tmp_path))
    record = RunRecord.resumed(done.folder, config(tmp_path), resolved.identity(), {})

    assert drop_old_grades(done.folder, record, resolved.grader_versions) == 3
    index = repair_graded(done.folder.samples, retry_errors=True)
    assert (len(index.completed), len(index.incomplete)) == (4, 3)
    assert drop_old_grades(done.folder, record, resolved.grader_versions) == 0
    assert read_tree(done.folder)["graders"] == {"gsm8k": 2}
