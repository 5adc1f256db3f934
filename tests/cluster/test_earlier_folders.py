"""Folders written by commit ade6d38: finished work starts no engine, killed work resumes, refusals have a reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safechain_ray import catalog
from safechain_ray.commands.benchmark import benchmark
from safechain_ray.commands.build_dataset import build_dataset
from safechain_ray.commands.fine_grained import analyse
from safechain_ray.commands.finetune.finetune import FineTuning, TrainingRecorder, finetune
from safechain_ray.commands.judge import Judging, add_judges, judge_thought_prefixes
from safechain_ray.commands.prefer import prefer
from safechain_ray.commands.sweep.sweep import sweep
from safechain_ray.config import (
    BenchmarkConfig,
    BuildConfig,
    FinetuneConfig,
    JudgingConfig,
    PreferenceConfig,
    SweepConfig,
    read_config_as,
)
from safechain_ray.demo import model_path
from safechain_ray.errors import RunConflictError
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.testing import Script, ScriptedEngines
from tests.cluster.prefer_cli import JUDGE, catalog_with_judge
from tests.cluster.scripted_runs import GUARD, MODEL, Runner, guard_script
from tests.earlier_folders import changed, copied, read_json, rows_by_id, table

pytestmark = pytest.mark.usefixtures("one_driver")

NO_ENGINE = Script(start_error="no engine may start")
NO_ENGINES = ScriptedEngines(dict.fromkeys((MODEL, GUARD, "./models/second"), NO_ENGINE))
READING_CHANGED = "The rules that divide a response into thought and answer have changed"

EVALUATE = {
    "datasets": [{"name": "quickstart", "limit": 6, "shuffle_seed": 4}],
    "strategies": ["default", "zerothink"],
    "sampling.temperature": 0.6,
    "sampling.max_tokens": 200,
    "samples": 2,
    "judges": ["demo-guard"],
}
"""The options with which `evaluate` was written."""

Earlier = Callable[[str], Path]


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Earlier:
    """Copies a folder to the working folder of the test: the records have relative paths."""
    monkeypatch.chdir(tmp_path)
    return lambda name: copied(name, tmp_path)


@pytest.fixture
def run_in(earlier: Earlier, cluster_address: str) -> Callable[[str], Runner]:
    return lambda name: Runner(cluster_address, earlier(name))


RunIn = Callable[[str], Runner]


def add(run: Runner, judge: str, guard: Script = NO_ENGINE, **flags: Any) -> Judging:
    given = {"judges": [judge], "resources.ray_address": run.address, **flags}
    run.reporter = RecordingReporter()
    engines = ScriptedEngines({GUARD: guard})
    return add_judges(str(run.output), read_config_as(JudgingConfig, None, given), run.reporter, engines)


def resources(address: str) -> dict[str, Any]:
    return {"resources.ray_address": address, "resources.block_rows": 4}


# evaluate


def test_a_finished_run_starts_no_engine_and_has_the_same_figures(run_in: RunIn) -> None:
    run = run_in("evaluate")
    figures, samples = read_json(run.output / "metrics.json"), rows_by_id(run.output / "samples")

    done = run(NO_ENGINE, NO_ENGINE, **EVALUATE)

    assert done.committed == 0
    assert "no engine is started" in " ".join(run.reporter.sentences)
    assert not changed(figures, read_json(run.output / "metrics.json"))
    assert rows_by_id(run.output / "samples") == samples


def test_other_options_are_refused_with_the_difference(run_in: RunIn) -> None:
    with pytest.raises(RunConflictError, match=r"settings\.0\.samples: 2 -> 3"):
        run_in("evaluate")(NO_ENGINE, NO_ENGINE, **EVALUATE | {"samples": 3})


def test_a_judge_is_added_beside_those_of_the_earlier_version(run_in: RunIn) -> None:
    run = run_in("evaluate")
    figures, samples = read_json(run.output / "metrics.json"), rows_by_id(run.output / "samples")

    added = add(run, "demo-guard", guard_script(), parts=["answer"])

    assert added.committed == len(samples) == 24
    asked = [[(judge.judge, judge.part) for judge in setting.judges] for setting in added.metrics.settings]
    assert asked == [[("demo-guard", "response"), ("refusal-match", "answer"), ("demo-guard", "answer")]] * 2
    now = read_json(run.output / "metrics.json")
    for setting in now["settings"]:
        del setting["judges"][2]
    assert not changed(figures, now)
    assert rows_by_id(run.output / "samples") == samples
    assert add(run, "demo-guard", parts=["answer"]).committed == 0


def test_the_earlier_refusal_match_is_another_judge_than_todays(run_in: RunIn) -> None:
    run = run_in("evaluate")
    with pytest.raises(RunConflictError, match=r"verdicts of another refusal-match(.|\n)*now finds a phrase with '"):
        add(run, "refusal-match", parts=["answer"])


def test_thoughts_judged_in_pieces_start_no_engine(run_in: RunIn) -> None:
    run = run_in("evaluate")
    before = table(run.output / "pieces" / "demo-guard")
    config = read_config_as(
        JudgingConfig, None, {"judges": ["demo-guard"], "pieces": 4, "resources.ray_address": run.address}
    )

    judged = judge_thought_prefixes(str(run.output), config, reporter := RecordingReporter(), NO_ENGINES)

    assert judged.committed == 0
    assert "no engine is started" in " ".join(reporter.sentences)
    assert table(run.output / "pieces" / "demo-guard") == before
    (found,) = analyse(str(run.output)).settings[0].first_unsafe
    assert (found.judge, found.pieces) == ("demo-guard", 4)


def test_a_run_whose_results_have_changed_is_refused_with_all_reasons(run_in: RunIn) -> None:
    run = run_in("evaluate_refused")
    with pytest.raises(RunConflictError) as refused:
        run(
            NO_ENGINE,
            NO_ENGINE,
            **EVALUATE
            | {
                "datasets": [{"name": "quickstart", "limit": 4, "shuffle_seed": 3}],
                "strategies": ["default", "morethink"],
                "judges": ["demo-guard", "refusal-match"],
                "parts": ["response", "answer"],
            },
        )
    message = str(refused.value)
    assert READING_CHANGED in message
    assert "The derivation of morethink's seeds has changed" in message
    assert "refusal-match now finds a phrase with '" in message
    assert "a rerun needs another --output. `report` and `compare` still read the older folder." in message
    assert message.count("Fix: ") == 1


def test_a_killed_run_resumes_and_keeps_its_rows(run_in: RunIn) -> None:
    run = run_in("evaluate_interrupted")
    kept = rows_by_id(run.output / "samples")
    assert 0 < len(kept) < 40
    assert read_json(run.output / "run.json")["tries"][-1]["status"] == "running"

    datasets = [{"name": "quickstart", "limit": 10, "shuffle_seed": 4}]
    done = run(**EVALUATE | {"datasets": datasets})

    rows = rows_by_id(run.output / "samples")
    assert done.committed == 40 - len(kept)
    assert len(rows) == 40
    assert changed(kept, rows) == []  # newer verdicts have more fields
    assert [each["status"] for each in read_json(run.output / "run.json")["tries"]] == ["cut off", "done"]


def test_rounds_that_a_killed_run_kept_are_not_generated_again(run_in: RunIn, tmp_path: Path) -> None:
    run = run_in("evaluate_rounds")
    kept = rows_by_id(run.output / "samples")
    rounds = read_json(run.output / "progress" / "rounds.json")
    assert kept
    assert rounds
    requests = tmp_path / "requests"

    def answer(request: object) -> str:
        with requests.open("a") as written:
            written.write(".")
        return "They ask for something else. One more step.</think>\n\nI can't help with that."

    morethink = {"name": "morethink", "options": {"max_rounds": 3, "think_budget": 100}}
    done = run(
        Script(answer=answer),
        datasets=[{"name": "quickstart", "limit": 6}],
        strategies=[morethink],
        samples=1,
        judges=["demo-guard"],
        **{"sampling.temperature": 0},
    )

    rows = rows_by_id(run.output / "samples")
    assert done.committed == 6 - len(kept)
    assert changed(kept, rows) == []  # newer verdicts have more fields
    earlier_rounds = "They ask for something. One more step."
    resumed = [row for row in rows.values() if earlier_rounds in row["thought"] and row["sample_id"] not in kept]
    assert len(resumed) == len(rounds)
    assert not (run.output / "progress").exists()
    assert len(requests.read_text()) < 5 * done.committed  # four rounds and the answer


def test_responses_that_wait_for_their_judge_are_not_generated_again(run_in: RunIn) -> None:
    run = run_in("evaluate_staged")
    waiting = rows_by_id(run.output / "stages" / "0")
    datasets = [{"name": "quickstart", "limit": 4}]

    done = run(NO_ENGINE, datasets=datasets, samples=2, judges=["demo-guard"])

    rows = rows_by_id(run.output / "samples")
    assert done.committed == len(rows) == len(waiting) == 8
    assert {key: row["response"] for key, row in rows.items()} == {key: row["response"] for key, row in waiting.items()}
    assert not (run.output / "stages").exists()


# sweep


def test_a_finished_sweep_starts_no_engine(earlier: Earlier, cluster_address: str, tmp_path: Path) -> None:
    folder = earlier("sweep")
    shutil.copytree(model_path("demo-reasoner"), tmp_path / "models" / "second")

    def contents() -> dict[str, Any]:
        runs = {name: folder / name for name in ("demo-reasoner", "second")}
        return {name: [read_json(run / "metrics.json"), rows_by_id(run / "samples")] for name, run in runs.items()}

    before = contents()

    config = read_config_as(SweepConfig, earlier("sweep.yaml"), resources(cluster_address))
    done = sweep(config, reporter := RecordingReporter(), NO_ENGINES)

    assert [(model.model, model.status, model.attempts) for model in done.models] == [
        ("demo-reasoner", "done", 0),
        ("second", "done", 0),
    ]
    assert "samples to do" not in " ".join(reporter.sentences)
    assert not changed(before, contents())


# judge-study


def test_a_finished_study_starts_no_engine_and_has_the_same_figures(run_in: RunIn, earlier: Earlier) -> None:
    run = run_in("judge_study")
    figures = read_json(run.output / "study.json")

    done = run.study(Path(earlier("labelled.csv").name), guard=NO_ENGINE, judges=["demo-guard"])

    assert done.committed == 0
    assert "no engine is started" in " ".join(run.reporter.sentences)
    assert not changed(figures, read_json(run.output / "study.json"))


# benchmark


def test_a_finished_benchmark_run_starts_no_engine_and_is_graded_again_by_todays_grader(
    earlier: Earlier, cluster_address: str
) -> None:
    folder, sums = earlier("benchmark"), earlier("sums.jsonl")
    figures = read_json(folder / "metrics.json")
    chosen = [{"name": "quickstart-topics", "limit": 4}, {"name": "gsm8k", "source": sums.name, "limit": 4}]
    given = {
        "model": "demo-reasoner",
        "benchmarks": chosen,
        "strategy": "zerothink",
        "sampling.max_tokens": 200,
        "output": folder.name,
    }
    config = read_config_as(BenchmarkConfig, None, given | resources(cluster_address))

    done = benchmark(config, reporter := RecordingReporter(), NO_ENGINES)

    assert (done.errors, done.committed) == (0, 4)
    assert "4 answers were graded by an earlier version" in " ".join(reporter.sentences)
    assert not changed(figures, read_json(folder / "metrics.json"))
    assert benchmark(config, RecordingReporter(), NO_ENGINES).committed == 0


# prefer


def test_finished_preferences_start_no_engine(
    earlier: Earlier, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "judges", catalog_with_judge())
    folders = [str(earlier("evaluate")), str(earlier("sweep") / "second")]
    output = earlier("prefer")
    figures = read_json(output / "preferences.json")
    config = {"judge": JUDGE, "strategies": ["default"], "output": str(output)}
    done = prefer(
        *folders,
        read_config_as(PreferenceConfig, None, config | resources(cluster_address)),
        reporter := RecordingReporter(),
        NO_ENGINES,
    )
    assert done.committed == 0
    assert "no engine is started" in " ".join(reporter.sentences)
    now = read_json(output / "preferences.json")
    moved = {"run_a": now["run_a"], "run_b": now["run_b"]}
    assert not changed(figures | moved, now)


# finetune


def tuned(earlier: Earlier, address: str, output: Path, **flags: Any) -> tuple[FineTuning, TrainingRecorder]:
    given = {"output": str(output), "resources.ray_address": address, **flags}
    return finetune(
        read_config_as(FinetuneConfig, earlier("finetune.yaml"), given), reporter := TrainingRecorder()
    ), reporter


def test_a_finished_training_starts_no_worker(earlier: Earlier, cluster_address: str) -> None:
    folder = earlier("finetune")
    done, reporter = tuned(earlier, cluster_address, folder)
    assert reporter.sentences == ["The training is finished already: no worker is started."]
    assert json.loads(done.record.to_json()) == read_json(folder / "finetune.json")
    with pytest.raises(RunConflictError, match=r"learning_rate: 0\.001 -> 0\.002"):
        tuned(earlier, cluster_address, folder, **{"training.learning_rate": 2e-3})


@pytest.mark.long
def test_a_killed_training_resumes_from_its_checkpoint(earlier: Earlier, cluster_address: str) -> None:
    folder = earlier("finetune_interrupted")
    done, _ = tuned(earlier, cluster_address, folder)
    assert [each.status for each in done.record.attempts] == ["cut off", "done"]
    assert done.record.attempts[-1].resumed_from == 4
    assert (folder / "model" / "model.safetensors").exists()


# build-dataset


def test_a_built_data_set_is_refused_as_its_thoughts_were_divided_by_other_rules(
    earlier: Earlier, cluster_address: str
) -> None:
    given = {
        "model": "demo-reasoner",
        "prompts": {"name": "quickstart", "number": 8},
        "samples": 2,
        "sampling.max_tokens": 300,
        "judges": ["demo-guard"],
        "rule": "majority",
        "output": str(earlier("build_dataset")),
    }
    with pytest.raises(RunConflictError, match=rf"holds another data set(.|\n)*{READING_CHANGED}"):
        build_dataset(
            read_config_as(BuildConfig, None, given | resources(cluster_address)), RecordingReporter(), NO_ENGINES
        )
