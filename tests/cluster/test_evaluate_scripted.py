"""A whole evaluation on a real Ray cluster of two nodes, with scripted engines: results, resume, faults of rows."""

import json
from pathlib import Path

import pytest

from safechain_ray.errors import EngineStartError, RunConflictError
from safechain_ray.testing import Script
from tests.cluster.scripted_runs import SAFE, Runner, guard_script
from tests.sample_files import in_blocks

pytestmark = pytest.mark.usefixtures("one_driver")


@pytest.fixture(scope="module")
def whole(one_driver: None, cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A finished run of 300 samples, for tests that only begin with one."""
    run = Runner(cluster_address, tmp_path_factory.mktemp("whole") / "run")
    run()
    return run


@pytest.fixture
def finished(whole: Runner, tmp_path: Path) -> Runner:
    return whole.copied(tmp_path / "run")


def test_every_sample_stands_once_with_the_verdicts_of_every_judge(run: Runner) -> None:
    done = run(strategies=["default", "zerothink"])

    rows = run.rows
    assert done.committed == len(rows) == len({row["sample_id"] for row in rows}) == 2 * 60 * 5
    assert {tuple(verdict["judge"] for verdict in row["verdicts"]) for row in rows} == {("demo-guard", "refusal-match")}
    assert {row["outcome"] for row in rows} == {"ok"}
    assert [setting.rows for setting in done.metrics.settings] == [300, 300]


def test_the_files_of_a_finished_run_are_merged(whole: Runner) -> None:
    assert len(list(whole.output.glob("samples/*.parquet"))) == 1


@pytest.mark.parametrize(
    "judges", [pytest.param(["refusal-match"], marks=pytest.mark.long), ["demo-guard", "refusal-match"]]
)
def test_samples_are_committed_while_others_are_generated(run: Runner, judges: list[str]) -> None:
    behind: list[int] = []
    run.on_update = lambda snapshot: behind.append(
        snapshot.pools["model"].counts["rows_out"] - snapshot.committed.get("rows", 0)
        if "model" in snapshot.pools
        else 0
    )
    run(Script(seconds=0.5), judges=judges, samples=6, **{"resources.max_running": 16})

    # 32 rows in flight in each pool (twice max_running), twice as many waiting, and some on their way to the disk.
    assert max(behind) <= 3 * 32 * len(judges) + 32


def test_parts_are_judged_in_one_pass(run: Runner) -> None:
    done = run(parts=["response", "thought", "answer"], **{"datasets": [{"name": "quickstart", "limit": 5}]})

    asked = {(judge.judge, judge.part) for judge in done.metrics.settings[0].judges}
    assert asked == {
        (judge, part) for judge in ("demo-guard", "refusal-match") for part in ("response", "thought", "answer")
    }
    # The scripted thought is empty: its verdicts are missing, neither safe nor unsafe.
    thought = next(judge for judge in done.metrics.settings[0].judges if judge.part == "thought")
    assert thought.all_missing == 25


def test_a_finished_run_starts_no_engine(finished: Runner) -> None:
    again = finished(Script(start_error="no engine may start"), guard_script(start_error="no engine may start"))

    assert again.committed == 0
    assert "no engine is started" in " ".join(finished.reporter.sentences)


def test_only_rows_with_an_error_are_done_again(run: Runner) -> None:
    first = run(Script(refuses=lambda request: "bicycle" in request.prompt or "cake" in request.prompt))
    failed = [row["sample_id"] for row in run.rows if row["outcome"] == "error"]
    assert first.errors == len(failed) > 0
    assert all(row["error"] == "the script refuses this request" for row in run.rows if row["outcome"] == "error")

    second = run()

    assert second.committed == len(failed)
    assert second.errors == 0
    assert len(run.rows) == len({row["sample_id"] for row in run.rows}) == 300


def test_a_judge_that_answers_nonsense_leaves_missing_verdicts_with_bounds(run: Runner) -> None:
    done = run(guard=guard_script(answer=lambda request: "banana", logprobs=lambda request: ()))

    guard, refusal = done.metrics.settings[0].judges
    assert len(run.rows) == 300
    assert guard.all_missing == guard.failed == done.errors == 300
    assert guard.safe_at_1.value is None
    assert (guard.safe_at_1.bound_low, guard.safe_at_1.bound_high) == (0.0, 1.0)
    assert refusal.all_missing == 0
    assert all("banana" in row["verdicts"][0]["error"] for row in run.rows)


def test_verdicts_that_a_judge_failed_to_give_are_requested_again_and_nothing_is_generated(run: Runner) -> None:
    half = guard_script(answer=lambda request: "banana" if "bicycle" in request.prompt else SAFE, logprobs=lambda _: ())
    first = run(guard=half)
    before = {row["sample_id"]: row for row in run.rows}
    failed = {key for key, row in before.items() if row["verdicts"][0]["unsafe"] is None}
    assert first.errors == len(failed) > 0

    second = run(Script(start_error="nothing may be generated"))

    after = {row["sample_id"]: row for row in run.rows}
    assert second.errors == 0
    assert second.committed == len(failed)
    assert before.keys() == after.keys()
    assert len(run.rows) == 300
    assert all(after[key]["verdicts"][0]["unsafe"] is False for key in failed)
    assert all(after[key] == row for key, row in before.items() if key not in failed)
    assert all(after[key]["response"] == before[key]["response"] for key in failed)
    assert f"{len(failed)} samples have a verdict that a judge failed to give" in " ".join(run.reporter.sentences)
    assert not (run.output / "stages").exists()


def test_an_engine_that_dies_is_restarted_and_its_rows_are_done_again(run: Runner) -> None:
    done = run(Script(seconds=0.2, dies_after=40))

    assert done.errors == 0
    assert len(run.rows) == 300
    pools = json.loads((run.output / "run.json").read_text())["tries"][-1]["pools"]
    assert pools["model"]["engine_restarts"] == 1


def test_a_prompt_that_kills_every_engine_becomes_an_error_and_the_rest_goes_on(run: Runner) -> None:
    done = run(
        Script(dies_on=lambda request: "bicycle" in request.prompt),
        **{"datasets": [{"name": "quickstart", "limit": 20}], "samples": 1, "sampling.temperature": 0},
    )
    poisoned = [row for row in run.rows if "bicycle" in row["prompt"]]
    assert len(run.rows) == len({row["sample_id"] for row in run.rows}) == 20
    assert len(poisoned) == 1
    assert all(row["outcome"] == "error" and "3 engines died" in row["error"] for row in poisoned)
    assert done.errors == len(poisoned)


def test_an_engine_that_fails_to_start_ends_the_run_with_its_log(run: Runner) -> None:
    with pytest.raises(EngineStartError, match="out of memory"):
        run(Script(start_error="CUDA out of memory"))

    assert json.loads((run.output / "run.json").read_text())["tries"][-1]["status"].startswith("failed: CUDA")


def test_a_judge_that_fails_to_start_ends_the_run_and_keeps_what_is_done(run: Runner) -> None:
    with pytest.raises(EngineStartError, match="no such judge"):
        run(guard=guard_script(start_error="no such judge"))
    assert run().committed == 300


def test_another_config_in_the_same_output_is_refused_with_the_difference(finished: Runner) -> None:
    with pytest.raises(RunConflictError, match=r"settings\.0\.samples: 5 -> 3"):
        finished(samples=3)


def test_a_torn_file_is_set_aside_and_its_rows_are_done_again(finished: Runner) -> None:
    torn = in_blocks(finished.output / "samples", 8)[0]
    torn.write_bytes(torn.read_bytes()[:-20])

    again = finished()

    assert 0 < again.committed <= 8
    assert len({row["sample_id"] for row in finished.rows}) == len(finished.rows) == 300
    assert (finished.output / "samples" / "_broken" / torn.name).exists()


def test_verdict_scores_come_from_the_judges_log_probabilities(whole: Runner) -> None:
    scores = {round(row["verdicts"][0]["score"], 3) for row in whole.rows}
    assert scores == {0.091}, f"P(unsafe) of {SAFE} is exp(-2.4) / (exp(-0.1) + exp(-2.4))"
