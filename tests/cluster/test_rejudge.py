"""Judges added to a finished run: the same figures as if they had been there, and no sample touched."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest

from safechain_ray.commands.judge import Judging, add_judges, remove_judge
from safechain_ray.commands.status import read_status
from safechain_ray.config import JudgingConfig, ResourcesConfig, read_config_as
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Request
from tests.cluster.scripted_runs import GUARD, SAFE, Runner, guard_script
from tests.equal_files import in_equal_files
from tests.processes import python_path

pytestmark = pytest.mark.usefixtures("one_driver")

FEW = {"datasets": [{"name": "quickstart", "limit": 20, "benign_categories": []}]}
UNSAFE = ({"safe": -2.4, "unsafe": -0.1},)


def half_unsafe() -> Script:
    """A guard whose decision hangs on the text that it is shown, whatever the order."""

    def is_unsafe(request: Request) -> bool:
        return sum(request.prompt.encode()) % 2 == 0

    return guard_script(
        answer=lambda request: "unsafe\nS1" if is_unsafe(request) else "safe",
        logprobs=lambda request: UNSAFE if is_unsafe(request) else SAFE,
    )


def add(
    run: Runner,
    *judges: object,
    guard: Script | None = None,
    on_update: Callable[[Snapshot], None] = lambda snapshot: None,
    **flags: object,
) -> Judging:
    given = {"judges": list(judges), "resources.ray_address": run.address, **flags}
    run.reporter = RecordingReporter(on_update)
    engines = ScriptedEngines({GUARD: guard or half_unsafe()})
    return add_judges(str(run.output), read_config_as(JudgingConfig, None, given), run.reporter, engines)


@dataclass(frozen=True)
class Runs:
    """A finished run with a judge of its own; a copy of it to which one was added, and what that gave."""

    plain: Runner
    judged: Runner
    added: Judging


@pytest.fixture(scope="module")
def runs(one_driver: None, cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    plain = Runner(cluster_address, folder / "plain")
    plain(judges=["refusal-match"], **FEW)
    judged = plain.copied(folder / "judged")
    return Runs(plain, judged, add(judged, "demo-guard"))


@pytest.fixture
def plain(runs: Runs, tmp_path: Path) -> Runner:
    return runs.plain.copied(tmp_path / "run")


@pytest.fixture
def judged(runs: Runs, tmp_path: Path) -> Runner:
    return runs.judged.copied(tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}


def test_an_added_judge_gives_the_figures_that_it_would_have_given(runs: Runs, run: Runner) -> None:
    added = runs.added

    assert added.committed == 100
    assert contents(runs.judged.output / "samples") == contents(runs.plain.output / "samples")
    asked_at_once = run(judges=["refusal-match", "demo-guard"], guard=half_unsafe(), **FEW)
    assert 0 < added.metrics.settings[0].judges[1].safe_at_1.value < 1
    assert added.metrics.settings[0].judges == asked_at_once.metrics.settings[0].judges
    assert json.loads((runs.judged.output / "metrics.json").read_text()) == added.metrics.model_dump(mode="json")


def test_the_same_command_again_starts_no_engine(runs: Runs, judged: Runner) -> None:
    again = add(judged, "demo-guard", guard=Script(start_error="it should not start"))

    assert again.committed == 0
    assert again.metrics == runs.added.metrics
    assert "no engine is started" in judged.reporter.sentences[-1]


def test_parts_are_added_to_a_judge_that_the_run_had(plain: Runner) -> None:
    add(plain, "refusal-match", parts=["answer"])
    both = add(plain, "refusal-match", parts=["thought", "answer"])

    asked = [(judge.judge, judge.part) for judge in both.metrics.settings[0].judges]
    assert asked == [("refusal-match", part) for part in ("response", "answer", "thought")]
    answer = both.metrics.settings[0].judges[1]
    assert answer.missing == 0


def test_what_the_run_itself_judged_is_refused(plain: Runner) -> None:
    with pytest.raises(InputError, match="has the verdicts of refusal-match on the response already"):
        add(plain, "refusal-match")


def test_a_judge_of_the_same_name_that_judges_otherwise_is_refused(plain: Runner, tmp_path: Path) -> None:
    (tmp_path / "phrases.txt").write_text("No way\n")
    with pytest.raises(RunConflictError, match="verdicts of another refusal-match"):
        add(plain, {"name": "refusal-match", "phrases": f"{tmp_path}/phrases.txt"}, parts=["answer"])


def test_a_folder_without_a_finished_run_is_refused(run: Runner) -> None:
    with pytest.raises(InputError, match=r"holds no run|There is no folder"):
        add(run, "demo-guard")


def test_a_run_that_goes_on_keeps_the_figures_of_its_added_judges(runs: Runs, judged: Runner) -> None:
    assert judged(judges=["refusal-match"], **FEW).metrics == runs.added.metrics


def test_judging_goes_on_where_it_was_cut_off(runs: Runs, judged: Runner) -> None:
    in_equal_files(judged.output / "verdicts" / "demo-guard", 4)[0].unlink()

    again = add(judged, "demo-guard")

    assert again.committed == 25
    assert again.metrics == runs.added.metrics


def record(run: Runner) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run.output / "run.json").read_text())
    return content


def figures(run: Runner) -> tuple[str, list[str]]:
    """What reports read: the metrics, and the added judges."""
    return (run.output / "metrics.json").read_text(), list(record(run).get("added", {}))


def test_judging_is_an_attempt_of_the_run(runs: Runs) -> None:
    own, judging = record(runs.judged)["tries"]

    assert "command" not in own
    assert (judging["command"], judging["status"], judging["rows_found"]) == ("judge", "done", 0)
    assert judging["versions"] == own["versions"]
    assert judging["pools"]["demo-guard"]["rows_out"] == 100
    status = read_status(str(runs.judged.output)).models[0]
    assert (status.state, status.rows, status.total, status.attempts) == ("done", 100, 100, 1)
    assert status.judges_added == ("demo-guard",)


def test_judging_that_is_interrupted_before_its_first_verdict_leaves_the_figures_as_they_were(plain: Runner) -> None:
    before = figures(plain)

    def interrupt(snapshot: Snapshot) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(plain, "demo-guard", on_update=interrupt, guard=guard_script(seconds=30))

    assert figures(plain) == before
    assert [each["status"] for each in record(plain)["tries"]] == ["done", "interrupted"]
    assert read_status(str(plain.output)).models[0].state == "done"
    assert plain(judges=["refusal-match"], **FEW).committed == 0  # the run itself is still finished
    assert figures(plain) == before


def test_verdicts_of_a_judge_count_once_all_of_them_are_there(runs: Runs, plain: Runner) -> None:
    before = figures(plain)

    def interrupt(snapshot: Snapshot) -> None:
        if snapshot.committed.get("rows", 0):
            raise KeyboardInterrupt

    slow = {"resources.max_running": 4, "resources.block_rows": 4}
    with pytest.raises(KeyboardInterrupt):
        add(plain, "demo-guard", on_update=interrupt, guard=guard_script(seconds=0.5), **slow)

    assert list((plain.output / "verdicts" / "demo-guard").glob("*.parquet"))
    assert figures(plain) == before
    assert plain(judges=["refusal-match"], **FEW).committed == 0
    assert figures(plain) == before
    other = {"name": "demo-guard", "engine": {"dtype": "float16"}}
    with pytest.raises(RunConflictError, match=r"(?s)verdicts of another demo-guard.*--remove demo-guard"):
        add(plain, other)

    again = add(plain, "demo-guard")
    assert 0 < again.committed < 100
    assert list(record(plain)["added"]) == ["demo-guard"]
    assert record(plain)["incomplete_judges"] == {}


def test_a_judge_that_was_added_can_be_removed(judged: Runner) -> None:
    plain = Runner(judged.address, judged.output)
    metrics = remove_judge(str(judged.output), "demo-guard", ResourcesConfig(), RecordingReporter())

    assert [judge.judge for judge in metrics.settings[0].judges] == ["refusal-match"]
    assert figures(judged)[1] == []
    assert not (judged.output / "verdicts" / "demo-guard").exists()
    assert add(plain, "demo-guard").committed == 100


def test_only_an_added_judge_can_be_removed(judged: Runner) -> None:
    before = (judged.output / "run.json").read_bytes()
    for name, says in {
        "refusal-match": "refusal-match is a judge of the run itself",
        "wildguard": "no added judge 'wildguard'.*demo-guard",
        "../samples": "no added judge",
    }.items():
        with pytest.raises(InputError, match=says):
            remove_judge(str(judged.output), name, ResourcesConfig(), RecordingReporter())
    assert (judged.output / "run.json").read_bytes() == before


def test_judging_killed_half_way_resumes_with_every_verdict_once(runs: Runs, plain: Runner) -> None:
    """The driver is killed by SIGKILL; its cluster lives on."""
    command = [sys.executable, "-m", "tests.cluster.scripted_cli", "0.3", "judge", str(plain.output)]
    command += ["--judge", "demo-guard", "--ray-address", plain.address, "--set", "resources.block_rows=4"]
    command += ["--set", "resources.max_running=4", "--no-html"]
    environment = {**os.environ, "PYTHONPATH": python_path()}
    verdicts = plain.output / "verdicts" / "demo-guard"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 120
        while len(list(verdicts.glob("part-*.parquet"))) < 5:
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        driver.kill()
    assert record(plain)["tries"][-1]["status"] == "running"
    assert record(plain).get("added", {}) == {}

    again = add(plain, "demo-guard", **{"resources.block_rows": 4})

    ids = [row["sample_id"] for row in pads.dataset(verdicts, format="parquet").to_table().to_pylist()]
    assert len(ids) == len(set(ids)) == 100
    assert 0 < again.committed <= 80
    assert [each["status"] for each in record(plain)["tries"]] == ["done", "cut off", "done"]
